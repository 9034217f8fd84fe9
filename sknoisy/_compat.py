"""Every private or version-dependent import from other libraries.

A new version of scikit-learn, skorch, imbalanced-learn or torch can break these imports without
notice, so they are kept in one file; ``tests/package/test_architecture.py`` allows them nowhere
else. Each comment states what the import is needed for. What the oldest versions of pyproject.toml
lack is added here, too; ``make test-oldest`` runs with them.
"""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Routes metadata to ``fit_resample``: imbalanced-learn adds the method to scikit-learn's list.
import imblearn.base
import numpy as np
import sklearn
import torch

# Validates constructor parameters at the start of ``fit``, as scikit-learn's own estimators do.
from sklearn.base import _fit_context as fit_context

# The base class of scorers, for a scorer that requests ``clean_mask``.
from sklearn.metrics._scorer import _Scorer

# ``_engine/trees.py`` grows a tree without a classifier and its validation.
from sklearn.tree._criterion import Gini
from sklearn.tree._splitter import BestSplitter
from sklearn.tree._tree import DepthFirstTreeBuilder, Tree

# Row selection and row counts of arrays, lists, frames and sparse matrices.
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils import column_or_1d as _column_or_1d

# Missing values among labels of dtype object.
from sklearn.utils._missing import is_pandas_na, is_scalar_nan

# The entries of ``_parameter_constraints``.
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)

# PurifiedClassifier refuses metadata as scikit-learn's own meta-estimators do if routing is off.
from sklearn.utils.metadata_routing import _raise_for_params as raise_for_params
from sklearn.utils.metadata_routing import _routing_enabled as routing_enabled

# Checks of the column names, weights, types and lengths of user input, as in scikit-learn.
from sklearn.utils.validation import _check_feature_names as check_feature_names
from sklearn.utils.validation import _check_n_features as check_n_features
from sklearn.utils.validation import _check_sample_weight
from sklearn.utils.validation import _estimator_has as estimator_has
from sklearn.utils.validation import _is_arraylike as is_arraylike
from sklearn.utils.validation import _num_samples as num_samples

# Python's own unpickler: unlike the one in C, it shows its opcodes, and its memory does not depend
# on the numbers in a file.
PythonUnpickler: Any = pickle._Unpickler

_SKLEARN = tuple(map(int, sklearn.__version__.split(".")[:2]))


class Scorer(_Scorer):
    """Base class of scorers whose class requests metadata of ``score``."""

    def score(self) -> None:
        """Do nothing: scikit-learn 1.8 ignores the requests of a class without this method."""


def column_or_1d(values, *, input_name: str) -> np.ndarray:
    """Return a column or an array (n,) as an array (n,), as scikit-learn's function does.

    Before scikit-learn 1.8 its messages do not contain the name.
    """
    return _column_or_1d(values, **({"input_name": input_name} if _SKLEARN >= (1, 8) else {}))


def check_weights(sample_weight, X, **options) -> np.ndarray:
    """Return the weights of the rows of X, as scikit-learn 1.9 does.

    Before it, scikit-learn takes weights that are all zero.
    """
    weights = _check_sample_weight(sample_weight, X, **options)
    if not np.any(weights):
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def generator_of(random_state: np.random.RandomState) -> np.random.Generator:
    """Return a Generator that shares its stream with a RandomState, as numpy 2.2 does."""
    return np.random.Generator(random_state._bit_generator)


def is_under_functorch() -> bool:
    """Return whether a ``torch.func`` transform such as ``vmap`` is running."""
    return torch._C._are_functorch_transforms_active()


@contextmanager
def restored_torch_modes() -> Iterator[None]:
    """Restore torch function modes and autocast, which a KeyboardInterrupt may leave active."""
    depth = torch._C._len_torch_function_stack()
    autocast = {device: torch.is_autocast_enabled(device) for device in ("cpu", "cuda")}
    try:
        yield
    finally:
        for device, enabled in autocast.items():
            torch.set_autocast_enabled(device, enabled)
        while torch._C._len_torch_function_stack() > depth:
            torch._C._pop_torch_function_stack()
