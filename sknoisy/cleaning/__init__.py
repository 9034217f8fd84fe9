"""Steps that clean the training rows: how one is run, and whether it pays.

============================  ==========================================================
:class:`PurifiedClassifier`   cleans its training rows, then fits any classifier
============================  ==========================================================
"""

from .purified_classifier import PurifiedClassifier

__all__ = ["PurifiedClassifier"]
