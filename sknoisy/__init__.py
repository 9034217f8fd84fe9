"""scikit-learn-compatible estimators for learning with noisy labels."""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

from .methods.registry import ESTIMATORS as _ESTIMATORS
from .methods.registry import estimator_class as _estimator_class

if TYPE_CHECKING:  # for editors and type checkers; at run time __getattr__ imports on first access
    from .audit import LabelAudit, LabelAuditor, audit_labels
    from .cleaning import PurifiedClassifier
    from .methods.auto import NoisyLabelClassifier
    from .methods.cdr import CDRClassifier
    from .methods.clid_mu import CLIDMUClassifier
    from .methods.co_teaching import CoTeachingClassifier
    from .methods.divide_mix import DivideMixClassifier
    from .methods.dmlp import DMLPClassifier, LabelPurifier
    from .methods.elr import ELRClassifier
    from .methods.famus import FaMUSClassifier
    from .methods.fixmatch import FixMatchClassifier
    from .methods.flexmatch import FlexMatchClassifier
    from .methods.l2r import L2RClassifier
    from .methods.meta_weight_net import MetaWeightNetClassifier
    from .methods.mild import CleanSampleSelector, MILDClassifier
    from .methods.mlc import MLCClassifier
    from .methods.mlnt import MLNTClassifier
    from .methods.mslc import MSLCClassifier
    from .methods.pro_mix import ProMixClassifier
    from .methods.sop import SOPClassifier
    from .methods.transition_mlc import TransitionMLCClassifier

__all__ = [
    "CDRClassifier",
    "CLIDMUClassifier",
    "CleanSampleSelector",
    "CoTeachingClassifier",
    "DMLPClassifier",
    "DivideMixClassifier",
    "ELRClassifier",
    "FaMUSClassifier",
    "FixMatchClassifier",
    "FlexMatchClassifier",
    "L2RClassifier",
    "LabelAudit",
    "LabelAuditor",
    "LabelPurifier",
    "MILDClassifier",
    "MLCClassifier",
    "MLNTClassifier",
    "MSLCClassifier",
    "MetaWeightNetClassifier",
    "NoisyLabelClassifier",
    "ProMixClassifier",
    "PurifiedClassifier",
    "SOPClassifier",
    "TransitionMLCClassifier",
    "audit_labels",
]
__version__ = "0.1.0"

_SUBMODULES = (
    "audit",
    "base",
    "callbacks",
    "datasets",
    "exceptions",
    "inspection",
    "meta",
    "methods",
    "metrics",
    "mixture",
    "networks",
    "noise",
    "pipeline",
    "representation",
)


def __getattr__(name: str) -> Any:
    if name in _ESTIMATORS:
        value = _estimator_class(name)
    elif name in __all__:
        value = getattr(_import_module(f"{__name__}.audit"), name)
    elif name in _SUBMODULES:
        value = _import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted((*__all__, *_SUBMODULES, "__version__"))
