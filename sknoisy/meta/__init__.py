"""Mathematics of meta updates in plain torch: objectives, meta models and their gradients.

========================  =============================================================
meta objective            :class:`CLIDObjective`, :class:`CrossEntropyObjective`,
                          :class:`MAEObjective`: loss of the network after a virtual step
meta model                :class:`WNet`, :class:`VRI`, :class:`L2RWeights`,
                          :class:`LabelCorrector`, :class:`SoftLabelCorrector`,
                          :class:`TransitionCorrector`: guidance of the training loss of
                          each row, by a weight, a soft label or scaled logits
gradient strategy         :class:`ForwardGradient` (default), :class:`ReverseGradient`,
                          :class:`LayerSampledGradient`: derivative of the objective with
                          respect to the parameters of the meta model
virtual step              part of the strategies: one step of plain gradient descent at
                          the current learning rate
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
