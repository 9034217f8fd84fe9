"""FixMatch: what it learns from rows without labels, and what each parameter does."""

import numpy as np
import pytest
from sklearn.base import clone

from sknoisy import FixMatchClassifier, FlexMatchClassifier
from sknoisy.base import NetworkClassifier
from sknoisy.datasets import load_noisy_digits

QUICK = {"module_params": {"hidden": (16,), "dropout": 0.1}, "batch_size": 20, "random_state": 0}
N_LABELED = 40


def short(cls, **params):
    return cls(**{"threshold": 0.6, "max_epochs": 4, "lr": 0.1, **QUICK, **params})


@pytest.fixture
def few_labels(blobs):
    """Blobs of which 40 of 121 rows have a label."""
    X, y = blobs
    return X, y, np.arange(len(y)) >= N_LABELED


def digits(seed, **noise):
    """Return 1,000 rows with labels, and the others with true labels."""
    data = load_noisy_digits(random_state=seed, **noise)
    order = np.random.default_rng(seed).permutation(len(data.data))
    train, test = order[:1000], order[1000:]
    return data.data[train], data.target[train], data.data[test], data.target_clean[test]


SEEDS = range(3)
N_STEPS = 150  # of both methods


def score(clf, n_labeled, seed, **noise):
    """Return the accuracy after training on rows of which the first ones have a label."""
    X, y, X_test, y_test = digits(seed, **noise)
    if isinstance(clf, FixMatchClassifier):  # ten steps per epoch
        clf.set_params(max_epochs=N_STEPS // 10)
        clf.fit(X, y, unlabeled_mask=np.arange(len(y)) >= n_labeled)
    else:
        clf.set_params(max_epochs=N_STEPS // -(-n_labeled // 100))
        clf.fit(X[:n_labeled], y[:n_labeled])
    return clf.score(X_test, y_test)


@pytest.mark.parametrize(("n_labeled", "rate"), [(40, 0.0), (200, 0.4)])
def test_few_labels_and_many_rows_beat_the_labels_alone(n_labeled, rate):
    """Also if two labels of five are wrong; then FixMatch has few confident predictions."""
    alone, fix, flex = (
        np.mean([score(cls(random_state=s, lr=0.1), n_labeled, s, rate=rate) for s in SEEDS])
        for cls in (NetworkClassifier, FixMatchClassifier, FlexMatchClassifier)
    )
    assert flex > alone + 0.03
    assert fix > alone + (0.03 if rate == 0 else 0)


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 0.9},
        {"unlabeled_weight": 0.2},
        {"unlabeled_ratio": 2},
        {"strong_augment": None},
        {"strong_augment": lambda X, generator: 0.5 * X},
    ],
)
@pytest.mark.parametrize("cls", [FixMatchClassifier, FlexMatchClassifier])
def test_each_parameter_has_an_effect(few_labels, cls, change):
    X, y, mask = few_labels
    default, changed = (
        short(cls, **params).fit(X, y, unlabeled_mask=mask) for params in ({}, change)
    )
    assert np.abs(default.predict_proba(X) - changed.predict_proba(X)).max() > 1e-3


def test_without_a_mask_all_rows_get_pseudo_labels(blobs):
    X, y = blobs
    seen = []

    def record(rows, generator):
        seen.append(rows)
        return rows

    short(FixMatchClassifier, max_epochs=1, strong_augment=record).fit(X, y)
    assert sum(map(len, seen)) == 6 * 20  # six full batches of 121 rows


def test_the_rows_with_labels_get_pseudo_labels_too(few_labels):
    """Rows with and without labels make up an epoch: 121 rows in full batches of 20."""
    X, y, mask = few_labels
    clf = short(FixMatchClassifier, max_epochs=1).fit(X, y, unlabeled_mask=mask)
    assert clf.history_[0, "train_batch_count"] == 6


def test_rows_without_weight_are_not_seen(few_labels):
    X, y, mask = few_labels
    weights = np.r_[np.ones(100), np.zeros(21)]
    elsewhere = X.copy()
    elsewhere[100:] += 100
    standardized = {"standardize": False}
    first, second = (
        short(FixMatchClassifier, **standardized)
        .fit(rows, y, unlabeled_mask=mask, sample_weight=weights)
        .predict_proba(X)
        for rows in (X, elsewhere)
    )
    np.testing.assert_array_equal(first, second)


def test_trusted_rows_keep_their_labels_in_both_terms(blobs):
    X, y = blobs
    params = {"threshold": 1.0, "max_epochs": 8, "strong_augment": None}
    plain = short(FixMatchClassifier, **params).fit(X, y)
    trusting = short(FixMatchClassifier, **params).fit(X, y, clean_mask=np.ones(len(y), bool))
    assert trusting.predict_proba(X)[np.arange(121), y].mean() > (
        plain.predict_proba(X)[np.arange(121), y].mean() + 0.01
    )


@pytest.mark.parametrize("cls", [FixMatchClassifier, FlexMatchClassifier])
def test_images_are_learned_bit_for_bit(images, cls):
    X, y = images
    mask = np.arange(len(y)) >= 12
    clf = short(cls, module_params=None, threshold=0.5)
    first, second = (clone(clf).fit(X, y, unlabeled_mask=mask).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    weak = clone(clf).set_params(strong_augment=None).fit(X, y, unlabeled_mask=mask)
    assert np.abs(weak.predict_proba(X) - first).max() > 1e-4


@pytest.mark.parametrize(
    "params", [{"threshold": 1.1}, {"unlabeled_ratio": 0}, {"strong_augment": "strong"}]
)
def test_parameters_out_of_range_are_refused(blobs, params):
    with pytest.raises(ValueError, match=next(iter(params))):
        short(FixMatchClassifier, **params).fit(*blobs)
