"""Classifiers: one method, one file."""

from .clid_mu import CLIDMUClassifier

__all__ = ["CLIDMUClassifier"]
