"""Data sets with noisy labels: small ones built in, public ones from local files.

Built in
    :func:`load_noisy_digits`, :func:`make_noisy_classification`
From local files, without running code that a file might hold
    :func:`load_cifar10`, :func:`load_cifar100`, :func:`load_cifar_n`
"""

from ._cifar import load_cifar10, load_cifar100
from ._cifar_n import load_cifar_n
from ._classification import make_noisy_classification
from ._digits import load_noisy_digits

__all__ = [
    "load_cifar10",
    "load_cifar100",
    "load_cifar_n",
    "load_noisy_digits",
    "make_noisy_classification",
]
