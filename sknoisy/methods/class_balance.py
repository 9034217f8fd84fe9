"""The rules by which CLID-MU follows the sizes of the given classes."""

from __future__ import annotations

import numpy as np
from scipy.stats import entropy

__all__ = ["class_balance", "class_exponents"]


def class_balance(counts: np.ndarray) -> float:
    """Balance of the given classes: 1 for equal ones, near 0 where one has nearly all rows.

    It is the fourth power of the entropy of their shares over that of equal shares. Where classes
    are unequal, most rows that carry a rare class's label are wrong ones out of a frequent class;
    keeping the class's share would keep them.

    Parameters
    ----------
    counts : ndarray of shape (n_classes,)
        Rows of each given class, all positive.

    Returns
    -------
    balance : float

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.methods.class_balance import class_balance
    >>> round(class_balance(np.array([50, 50])), 2), round(class_balance(np.array([90, 10])), 2)
    (1.0, 0.05)
    """
    return float((entropy(counts) / np.log(len(counts))) ** 4)


def class_exponents(normalize: str | float, counts: np.ndarray) -> np.ndarray:
    """Exponent of each class in the normalisation of the weights.

    Parameters
    ----------
    normalize : {"auto", "class", "batch"} or float
        The parameter of :class:`~sknoisy.CLIDMUClassifier`.
    counts : ndarray of shape (n_classes,)
        Rows of each given class.

    Returns
    -------
    exponents : ndarray of shape (n_classes,)

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.methods.class_balance import class_exponents
    >>> class_exponents("auto", np.array([100, 100, 100])).round(2).tolist()
    [0.75, 0.75, 0.75]
    >>> class_exponents("auto", np.array([200, 80, 20])).round(2).tolist()
    [0.21, 0.17, 0.04]
    """
    if normalize == "auto":
        return 0.75 * class_balance(counts) * np.minimum(counts / counts.mean(), 1.0)
    named = {"batch": 0.0, "class": 1.0}
    return np.full(len(counts), named.get(normalize, normalize), dtype=float)  # type: ignore[arg-type]
