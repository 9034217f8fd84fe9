"""Co-teaching, ELR, CDR and SOP on images: the same model at each fit, and trusted rows."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sknoisy import CDRClassifier, CoTeachingClassifier, ELRClassifier, SOPClassifier

ESTIMATORS = [
    CoTeachingClassifier(noise_rate=0.3, n_ramp_epochs=1),
    ELRClassifier(),
    ELRClassifier(plus=True),
    CDRClassifier(noise_rate=0.3),
    SOPClassifier(),
    SOPClassifier(plus=True),
]


def images():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    return rng.integers(0, 128, (40, 8, 8, 3), dtype=np.uint8) + 100 * y[:, None, None, None], y


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_images_give_the_same_model_at_each_fit(estimator):
    X, y = images()
    estimator.set_params(max_epochs=2, batch_size=20, random_state=0)
    trusted = np.arange(len(y)) % 4 < 2
    first = estimator.fit(X, y, clean_mask=trusted).predict_proba(X)
    assert_array_equal(estimator.label_distribution_[trusted], np.eye(2)[y[trusted]])
    assert_array_equal(estimator.fit(X, y, clean_mask=trusted).predict_proba(X), first)
