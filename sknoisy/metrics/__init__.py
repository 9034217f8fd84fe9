"""Metrics and scorers that need no clean labels, or only those of trusted rows."""

from ._agreement import agreement_scorer
from ._clid import clid, clid_scorer
from ._corrected import (
    CorrectedAccuracy,
    noise_corrected_accuracy,
    noise_corrected_accuracy_score,
)
from ._likelihood import noisy_log_likelihood, noisy_log_likelihood_score
from ._trusted import trusted_accuracy, trusted_accuracy_score

__all__ = [
    "CorrectedAccuracy",
    "agreement_scorer",
    "clid",
    "clid_scorer",
    "noise_corrected_accuracy",
    "noise_corrected_accuracy_score",
    "noisy_log_likelihood",
    "noisy_log_likelihood_score",
    "trusted_accuracy",
    "trusted_accuracy_score",
]
