"""Metrics and scorers that need no clean labels, or only those of trusted rows."""

from ._clid import clid, clid_scorer
from ._trusted import trusted_accuracy, trusted_accuracy_score

__all__ = [
    "clid",
    "clid_scorer",
    "trusted_accuracy",
    "trusted_accuracy_score",
]
