"""Running a cleaner inside a classifier, and judging it by held-out rows.

============================  ==========================================================
:class:`PurifiedClassifier`   cleans the training rows, then fits any classifier
============================  ==========================================================
"""

from .purified_classifier import PurifiedClassifier

__all__ = ["PurifiedClassifier"]
