"""Metrics and scorers that do not need clean labels, or only those of trusted rows.

======================================  =====================================================
:func:`clid`                            cross-layer information divergence of features and
                                        predictions
:data:`clid_scorer`                     the same relative to a model that has learnt nothing,
                                        as a scorer, without labels
:func:`trusted_accuracy_score`          accuracy on the rows of a clean mask
:data:`trusted_accuracy`                the same as a scorer with a routed ``clean_mask``
:func:`count_dynamics`                  epochs in which a row is misclassified and memorised, as
                                        :class:`LearningDynamics`
:func:`segment_dynamics`                mean lengths of the runs of such epochs
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
