"""The mathematics of meta updates, in plain torch: four concerns that never mix.

========================  =============================================================
meta objective            :class:`CLIDObjective`, :class:`CrossEntropyObjective`,
                          :class:`MAEObjective`: what a virtual step is judged by
meta model                :class:`WNet`, :class:`VRI`: what the training loss learns to
                          believe of every row
gradient strategy         :class:`ForwardGradient` (default), :class:`ReverseGradient`
virtual step              inside the strategies: plain gradient descent at the current rate
========================  =============================================================
"""

from .functional import StatelessModule
from .gradients import ForwardGradient, MetaProblem, MetaStep, ReverseGradient
from .models import BatchOutputs, MetaModel, balance_weights
from .objectives import CLIDObjective, CrossEntropyObjective, MAEObjective, cross_layer_divergence
from .weighting import VRI, WNet, gaussian_kl

__all__ = [
    "VRI",
    "BatchOutputs",
    "CLIDObjective",
    "CrossEntropyObjective",
    "ForwardGradient",
    "MAEObjective",
    "MetaModel",
    "MetaProblem",
    "MetaStep",
    "ReverseGradient",
    "StatelessModule",
    "WNet",
    "balance_weights",
    "cross_layer_divergence",
    "gaussian_kl",
]
