"""Metrics and scorers that need no clean labels, or only those of trusted rows.

======================================  =====================================================
:func:`clid`                            cross-layer information divergence of features and
                                        predictions
:data:`clid_scorer`                     scorer by CLID, relative to a model that has learnt
                                        nothing; reads no labels
:func:`trusted_accuracy_score`          accuracy on the rows of a clean mask
:data:`trusted_accuracy`                scorer by this accuracy, with a routed ``clean_mask``
======================================  =====================================================
"""

from ._clid import clid, clid_scorer
from ._trusted import trusted_accuracy, trusted_accuracy_score

__all__ = [
    "clid",
    "clid_scorer",
    "trusted_accuracy",
    "trusted_accuracy_score",
]
