"""``augment`` and ``strong_augment`` of estimators: what reaches the training data."""

import numpy as np
import pytest
import torch

from sknoisy._engine.strong_augment import STRONG_AUGMENT, StrongViews
from sknoisy._engine.views import FeatureCorruption
from sknoisy.base import NetworkClassifier

QUICK = {"max_epochs": 1, "batch_size": 20, "random_state": 0}


class Recorder(NetworkClassifier):
    """Keeps the training data."""

    _parameter_constraints = {
        **NetworkClassifier._parameter_constraints,
        "strong_augment": STRONG_AUGMENT,
    }

    def __init__(self, *, strong_augment="auto", **shared):
        super().__init__(**shared)
        self.strong_augment = strong_augment

    def _finish(self, data):
        self.data_ = data


class AsInSOP(Recorder):
    _strong_views = "autoaugment"


def views_of(estimator, X, y, seed=0):
    """Fit, and return scaled rows and their strong views."""
    data = estimator.fit(X, y).data_
    rows = data.take(torch.arange(len(data)))[0]
    return rows, data.strong_augment(rows, torch.Generator().manual_seed(seed)), data


@pytest.mark.parametrize("name", ["strong", "strong-noflip", "autoaugment"])
def test_strong_augmentation_of_a_classifier_is_fixed_by_its_random_state(images, name):
    X, y = images
    first, second, weak = (
        NetworkClassifier(augment=augment, **QUICK).fit(X, y).predict_proba(X)
        for augment in (name, name, "flip+crop")
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, weak)


@pytest.mark.parametrize("name", ["strong", "strong-noflip", "autoaugment"])
def test_strong_augmentation_of_a_table_is_refused(blobs, name):
    with pytest.raises(ValueError, match=f"augment='{name}' is made for images of shape"):
        NetworkClassifier(augment=name, **QUICK).fit(*blobs)


def test_an_augmentation_that_changes_the_shape_is_refused(images):
    for rows in (slice(None, -1), slice(None)):
        function = lambda X, generator: X[rows, ..., 1:]  # noqa: B023, E731
        with pytest.raises(ValueError, match=r"augment must return .* \(20, 3, 8, 8\); got shape"):
            NetworkClassifier(augment=function, **QUICK).fit(*images)


@pytest.mark.parametrize(
    ("estimator", "name", "kind"),
    [
        (Recorder, "auto", "randaugment"),
        (AsInSOP, "auto", "autoaugment"),
        (AsInSOP, "promix", "promix"),
        (Recorder, "autoaugment", "autoaugment"),
    ],
)
def test_strong_views_of_images_end_with_the_weak_augmentation(images, estimator, name, kind):
    rows, views, data = views_of(estimator(strong_augment=name, **QUICK), *images)
    generator = torch.Generator().manual_seed(0)
    strong = StrongViews(estimator(**QUICK).fit(*images)._scaling, kind, rows.device)
    assert torch.equal(data.augment(strong(rows, generator), generator), views)
    alone = views_of(estimator(strong_augment=name, augment=None, **QUICK), *images)[1]
    assert torch.equal(alone, strong(rows, torch.Generator().manual_seed(0)))


def test_strong_views_of_a_table_take_columns_from_rows_that_count(blobs):
    X, y = blobs
    weights = np.r_[np.ones(100), np.zeros(21)]
    X[100:] = 1e3
    data = Recorder(**QUICK).fit(X, y, sample_weight=weights).data_
    rows = data.take(torch.arange(100))[0]
    views = data.strong_augment(rows, torch.Generator().manual_seed(0))
    n_changed = (views != rows).sum(1)
    assert isinstance(data.strong_augment, FeatureCorruption)
    assert n_changed.max() == 1  # three tenths of six columns, rounded down
    assert n_changed.double().mean() > 0.9
    assert views.max() <= rows.max()


def test_without_strong_augmentation_there_is_none(blobs):
    assert Recorder(strong_augment=None, **QUICK).fit(*blobs).data_.strong_augment is None


def test_a_function_makes_the_strong_views_and_must_keep_the_shape(blobs):
    X, y = blobs
    rows, views, _ = views_of(Recorder(strong_augment=lambda X, _: -X, **QUICK), X, y)
    assert torch.equal(views, -rows)
    with pytest.raises(ValueError, match=r"strong_augment must return .* \(121, 6\); got shape"):
        views_of(Recorder(strong_augment=lambda X, _: X[:, 1:], **QUICK), X, y)


def test_strong_views_of_images_are_no_views_of_tables(blobs):
    with pytest.raises(ValueError, match="strong_augment='randaugment' is made for images"):
        Recorder(strong_augment="randaugment", **QUICK).fit(*blobs)


def test_other_rows_have_no_strong_views_by_default():
    X = np.random.default_rng(0).normal(size=(40, 5, 3)).astype(np.float32)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(15, 2))
    fitted = Recorder(module=module, **QUICK).fit(X, np.arange(40) % 2)
    assert fitted.data_.strong_augment is None
