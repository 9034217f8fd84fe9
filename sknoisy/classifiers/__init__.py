"""Classifiers: one method, one file."""

from .clid_mu import CLIDMUClassifier
from .dmlp import DMLPClassifier
from .famus import FaMUSClassifier
from .l2r import L2RClassifier
from .meta_weight_net import MetaWeightNetClassifier
from .mild import MILDClassifier
from .mlc import MLCClassifier
from .mlnt import MLNTClassifier
from .mslc import MSLCClassifier
from .noisy_label import MethodChoice, NoisyLabelClassifier
from .transition_mlc import TransitionMLCClassifier

__all__ = [
    "CLIDMUClassifier",
    "DMLPClassifier",
    "FaMUSClassifier",
    "L2RClassifier",
    "MILDClassifier",
    "MLCClassifier",
    "MLNTClassifier",
    "MSLCClassifier",
    "MetaWeightNetClassifier",
    "MethodChoice",
    "NoisyLabelClassifier",
    "TransitionMLCClassifier",
]
