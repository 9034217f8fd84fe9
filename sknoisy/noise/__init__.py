"""Label-noise generators and transition matrices.

Every generator takes clean labels of any type and returns :class:`NoisyLabels`, the named tuple
``(y, mask, transition)``; it never modifies its input and draws from `random_state` alone.

By class
    :func:`symmetric`, :func:`pairflip`, :func:`class_map` (asymmetric), :func:`superclass`,
    :func:`random_map` ("flip", "flip2")
By sample
    :func:`instance_dependent`, :func:`polynomial_margin`
Given
    :func:`from_transition`, :func:`human`
Transition matrices
    :func:`symmetric_transition`, :func:`pairflip_transition`, :func:`class_map_transition`,
    :func:`superclass_transition`, :func:`random_map_transition`; :func:`noise_rate`,
    :func:`estimate_transition`
Estimates without clean labels
    :func:`estimate_transition_matrix`, :func:`estimate_noise_rate`, :func:`bootstrap_interval`
Constants of the benchmarks
    `CIFAR10_CLASSES`, `CIFAR10_ASYMMETRIC`, `CIFAR10_ASYMMETRIC_ONE_WAY`, `MNIST_ASYMMETRIC`,
    `CIFAR100_CLASSES`, `CIFAR100_SUPERCLASSES`, `CIFAR100_BLOCKS`
"""

from ._class_noise import class_map, pairflip, random_map, superclass, symmetric
from ._estimation import estimate_transition, noise_rate
from ._given import from_transition, human
from ._instance import instance_dependent
from ._labels import NoisyLabels
from ._maps import (
    CIFAR10_ASYMMETRIC,
    CIFAR10_ASYMMETRIC_ONE_WAY,
    CIFAR10_CLASSES,
    CIFAR100_BLOCKS,
    CIFAR100_CLASSES,
    CIFAR100_SUPERCLASSES,
    MNIST_ASYMMETRIC,
)
from ._margin import polynomial_margin
from ._matrix import bootstrap_interval, estimate_noise_rate, estimate_transition_matrix
from ._transition import (
    class_map_transition,
    pairflip_transition,
    random_map_transition,
    superclass_transition,
    symmetric_transition,
)

__all__ = [
    "CIFAR10_ASYMMETRIC",
    "CIFAR10_ASYMMETRIC_ONE_WAY",
    "CIFAR10_CLASSES",
    "CIFAR100_BLOCKS",
    "CIFAR100_CLASSES",
    "CIFAR100_SUPERCLASSES",
    "MNIST_ASYMMETRIC",
    "NoisyLabels",
    "bootstrap_interval",
    "class_map",
    "class_map_transition",
    "estimate_noise_rate",
    "estimate_transition",
    "estimate_transition_matrix",
    "from_transition",
    "human",
    "instance_dependent",
    "noise_rate",
    "pairflip",
    "pairflip_transition",
    "polynomial_margin",
    "random_map",
    "random_map_transition",
    "superclass",
    "superclass_transition",
    "symmetric",
    "symmetric_transition",
]
