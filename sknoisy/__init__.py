"""scikit-learn-compatible estimators for learning with noisy labels."""

from .classifiers import CLIDMUClassifier

__all__ = ["CLIDMUClassifier"]
__version__ = "0.1.0.dev0"
