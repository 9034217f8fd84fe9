"""Every private or version-dependent import from other libraries.

A new version of scikit-learn, skorch, imbalanced-learn or torch can break these imports without
notice, so they are kept in one file; ``tests/package/test_architecture.py`` allows them nowhere
else. Each comment states what the import is needed for.
"""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Routes metadata to ``fit_resample``: imbalanced-learn adds the method to scikit-learn's list.
import imblearn.base
import torch

# Validates constructor parameters at the start of ``fit``, as scikit-learn's own estimators do.
from sklearn.base import _fit_context as fit_context

# The base class of scorers, for a scorer that needs no ``y_true``.
from sklearn.metrics._scorer import _Scorer as Scorer

# Row selection and row counts of arrays, lists, frames and sparse matrices.
from sklearn.utils import _safe_indexing as safe_indexing

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

# PurifiedClassifier treats metadata as scikit-learn's own meta-estimators do: it refuses them if
# routing is off, and creates the Bunch that ``process_routing`` would return.
from sklearn.utils.metadata_routing import _manual_routing as manual_routing
from sklearn.utils.metadata_routing import _raise_for_params as raise_for_params
from sklearn.utils.metadata_routing import _routing_enabled as routing_enabled

# Checks of the column names, weights, types and lengths of user input, as in scikit-learn.
from sklearn.utils.validation import _check_feature_names as check_feature_names
from sklearn.utils.validation import _check_n_features as check_n_features
from sklearn.utils.validation import _check_sample_weight as check_weights
from sklearn.utils.validation import _estimator_has as estimator_has
from sklearn.utils.validation import _is_arraylike as is_arraylike
from sklearn.utils.validation import _num_samples as num_samples

# Python's own unpickler: unlike the one in C, it shows its opcodes, and its memory does not depend
# on the numbers in a file.
PythonUnpickler: Any = pickle._Unpickler


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
