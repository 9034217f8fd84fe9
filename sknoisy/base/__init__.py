"""Base classes of the estimators, and the types that their seams use.

:ref:`write_a_method` builds a classifier on them. ``Interval`` and ``StrOptions`` are the
constraints of scikit-learn for numbers in a range, and for parameters that take certain strings.
"""

from .._compat import Interval, StrOptions
from .._engine.batches import Batch, TrainingData
from .._engine.net import DeviceNet
from .._engine.problem import Problem
from ._classifier import NetworkClassifier
from ._estimator import NetworkEstimator

__all__ = [
    "Batch",
    "DeviceNet",
    "Interval",
    "NetworkClassifier",
    "NetworkEstimator",
    "Problem",
    "StrOptions",
    "TrainingData",
]
