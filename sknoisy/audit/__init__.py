"""The label audit: which labels look wrong, how many, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # at run time on first access: torch would make `sknoisy --help` take seconds
    from .auditor import LabelAuditor, audit_labels
    from .result import LabelAudit

__all__ = ["LabelAudit", "LabelAuditor", "audit_labels"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import auditor

    value = getattr(auditor, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
