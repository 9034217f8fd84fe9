"""Data sets with noisy labels: small built-in ones, and public ones from local files.

Built in
    :func:`load_noisy_digits`, :func:`make_noisy_classification`
Derived from another data set
    :func:`make_long_tailed`
Read from local files, without running code that a file might hold
    :func:`load_cifar10`, :func:`load_cifar100`, :func:`load_cifar_n`
"""

from ._cifar import load_cifar10, load_cifar100
from ._cifar_n import load_cifar_n
from ._classification import make_noisy_classification
from ._digits import load_noisy_digits
from ._long_tail import LongTailed, make_long_tailed

__all__ = [
    "LongTailed",
    "load_cifar10",
    "load_cifar100",
    "load_cifar_n",
    "load_noisy_digits",
    "make_long_tailed",
    "make_noisy_classification",
]
