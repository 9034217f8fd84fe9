"""Sample weights that differ by orders of magnitude, over all classifiers."""

import numpy as np
import pytest
from estimators import fit, has, over_estimators, takes
from sklearn.base import clone, is_classifier
from sklearn.metrics import roc_auc_score
from sklearn.utils.class_weight import compute_sample_weight

# These drop labels that contradict the network's own predictions. In the warm-up the rare class's
# weights dominate, so that many labels of the other class contradict them, and are dropped.
DROPS_LABELS = ("ProMixClassifier", "CLIDMUClassifier-dividemix")


def trains_by_weight(estimator):
    return is_classifier(estimator) and takes("sample_weight")(estimator)


def rare_rows(seed):
    """Return 500 rows, of which the 5 of the largest sum of two columns are positive."""
    X = np.random.default_rng(seed).normal(size=(500, 6))
    y = np.zeros(500, dtype=int)
    y[np.argsort(X[:, 0] + X[:, 1])[-5:]] = 1
    return X, y


@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.CollapseWarning")
@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.MixtureWarning")
@over_estimators("a_rare_class_of_large_weight_is_learned", trains_by_weight)
def test_a_rare_class_of_large_weight_is_learned(estimator, request):
    """Each positive row weighs 99 times as much as a negative one."""
    X, y = rare_rows(0)
    if has("max_epochs")(estimator):
        estimator = clone(estimator).set_params(max_epochs=10)
    clf = fit(estimator, X, y, sample_weight=compute_sample_weight("balanced", y))
    predicted = clf.predict(X)
    assert predicted[y == 1].mean() == 1.0
    drops_labels = request.node.callspec.id in DROPS_LABELS
    assert predicted[y == 0].mean() < (0.5 if drops_labels else 0.2)
    assert roc_auc_score(y, clf.predict_proba(X)[:, 1]) > 0.95
