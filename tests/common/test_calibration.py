"""Probabilities of the true labels, by trusted rows that were not trained on."""

import numpy as np
import pytest
from estimators import fit, over_estimators
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from sknoisy import CLIDMUClassifier
from sknoisy.noise import symmetric

N_TRAINING, N_TRUSTED = 400, 400


@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.CollapseWarning")
@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.MixtureWarning")
@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.SelectionWarning")
@over_estimators("calibrated_by_trusted_rows_the_mean_is_the_true_share", is_classifier)
def test_calibrated_by_trusted_rows_the_mean_is_the_true_share(estimator):
    """One row of twenty is positive, and a quarter of the labels is wrong."""
    rng = np.random.default_rng(0)
    y = (np.arange(2400) % 20 == 0).astype(int)
    X = rng.normal(size=(2400, 4))
    X[y == 1, :2] += 1.5
    training, trusted, fresh = np.split(
        rng.permutation(2400), [N_TRAINING, N_TRAINING + N_TRUSTED]
    )
    clf = fit(estimator, X[training], symmetric(y[training], 0.25, random_state=0).y)
    calibrated = CalibratedClassifierCV(FrozenEstimator(clf)).fit(X[trusted], y[trusted])
    mean = calibrated.predict_proba(X[fresh])[:, 1].mean()
    error = np.sqrt(0.05 * 0.95 / N_TRUSTED)  # of the share among the trusted rows
    assert abs(mean - y[fresh].mean()) < 3 * error


def test_without_calibration_the_mean_is_the_share_of_the_noisy_labels():
    rng = np.random.default_rng(0)
    y = (np.arange(1200) % 50 == 0).astype(int)
    X = rng.normal(size=(1200, 4))
    X[y == 1, :2] += 1.5
    noisy = symmetric(y, 0.25, random_state=0).y
    clf = CLIDMUClassifier(max_epochs=6, module_params={"hidden": (8,)}, random_state=0)
    mean = clf.fit(X, noisy).predict_proba(X)[:, 1].mean()
    assert abs(mean - noisy.mean()) < 0.05 < noisy.mean() - y.mean()
