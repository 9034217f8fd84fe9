"""A classifier that picks a method for the data, and the ensemble that it picks for tables."""

from .classifier import MethodChoice, NoisyLabelClassifier

__all__ = ["MethodChoice", "NoisyLabelClassifier"]
