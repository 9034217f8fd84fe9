"""Pipelines of imbalanced-learn, whose steps may change y or drop rows.

scikit-learn's own pipeline passes y on unchanged. These pipelines also accept steps with
``fit_resample``, which run in ``fit`` and are skipped in ``predict``. They subclass scikit-learn's
pipeline, so that grid search, cross-validation and metadata routing work as usual, and rows are
dropped within each training fold only.

Examples
--------
>>> from imblearn.under_sampling import EditedNearestNeighbours
>>> from sklearn.preprocessing import StandardScaler
>>> from sknoisy import CLIDMUClassifier
>>> from sknoisy.datasets import make_noisy_classification
>>> from sknoisy.pipeline import make_pipeline
>>> X, y, y_clean = make_noisy_classification(400, 8, rate=0.3, class_sep=2, random_state=0)
>>> clf = CLIDMUClassifier(max_epochs=20, random_state=0)
>>> model = make_pipeline(StandardScaler(), EditedNearestNeighbours(kind_sel="mode"), clf)
>>> bool(model.fit(X, y).score(X, y_clean) > 0.9)
True
>>> len(clf.clean_proba_) == len(model[1].sample_indices_) < len(X)
True
"""

from imblearn.pipeline import Pipeline, make_pipeline

__all__ = ["Pipeline", "make_pipeline"]
