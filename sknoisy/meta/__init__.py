"""The mathematics of meta updates, in plain torch: four concerns that never mix.

========================  =============================================================
meta objective            :class:`CLIDObjective`, :class:`CrossEntropyObjective`,
                          :class:`MAEObjective`: what a virtual step is judged by
meta model                :class:`WNet`, :class:`VRI`, :class:`L2RWeights`,
                          :class:`LabelCorrector`, :class:`SoftLabelCorrector`,
                          :class:`TransitionCorrector`: what the training loss learns to
                          believe of every row
gradient strategy         :class:`ForwardGradient` (default), :class:`ReverseGradient`,
                          :class:`LayerSampledGradient`
virtual step              inside the strategies: plain gradient descent at the current rate
noise tolerance           :class:`ToleranceGradient`: a step by which the network stays of
                          its mind after virtual steps on synthetic noisy labels
========================  =============================================================
"""

from .functional import StatelessModule
from .gradients import ForwardGradient, MetaProblem, MetaStep, ReverseGradient
from .label_correction import LabelCorrector, SoftLabelCorrector, TransitionCorrector
from .layer_sampling import LayerSampledGradient
from .losses import LDAMLoss
from .models import BatchOutputs, MetaModel, balance_weights, weighted_mean
from .objectives import CLIDObjective, CrossEntropyObjective, MAEObjective, cross_layer_divergence
from .reweighting import L2RWeights
from .weighting import VRI, WNet, gaussian_kl

__all__ = [
    "VRI",
    "BatchOutputs",
    "CLIDObjective",
    "CrossEntropyObjective",
    "ForwardGradient",
    "L2RWeights",
    "LDAMLoss",
    "LabelCorrector",
    "LayerSampledGradient",
    "MAEObjective",
    "MetaModel",
    "MetaProblem",
    "MetaStep",
    "ReverseGradient",
    "SoftLabelCorrector",
    "StatelessModule",
    "TransitionCorrector",
    "WNet",
    "balance_weights",
    "cross_layer_divergence",
    "gaussian_kl",
    "weighted_mean",
]
