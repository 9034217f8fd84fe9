"""A classifier that picks a method for the data, and the ensemble that it picks for tables."""

from .choice import MethodChoice
from .classifier import NoisyLabelClassifier

__all__ = ["MethodChoice", "NoisyLabelClassifier"]
