"""Augmentation and standardisation of the network's input."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import nn

from sknoisy._engine.scaling import InputScaling


class Inputs(nn.Module):
    """A linear network that records its input in training."""

    seen = []

    def __init__(self, n_inputs, n_classes):
        super().__init__()
        self.fc = nn.Linear(n_inputs, n_classes)

    def forward(self, x):
        if self.training:
            self.seen.append(x.detach().clone())
        return self.fc(x.flatten(1))


def training_inputs(clf, X, y):
    """Return the network's input in one epoch of training."""
    Inputs.seen.clear()
    n_inputs = int(np.prod(X.shape[1:]))
    clf.set_params(
        module=Inputs, module_params={"n_inputs": n_inputs}, max_epochs=1, weighting=None
    )
    clf.fit(X, y)
    return torch.cat(Inputs.seen)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
@pytest.mark.parametrize("layout", ["last", "first"])
def test_standardised_images_have_mean_0_and_variance_1_in_each_channel(
    quick, images, dtype, layout
):
    X, y = images[0].astype(dtype), images[1]
    X = X if layout == "last" else np.moveaxis(X, 3, 1)
    for standardize in (True, "auto"):
        seen = training_inputs(quick(standardize=standardize, augment=None), X, y)
        assert seen.shape == (40, 3, 8, 8)
        assert seen.dtype == torch.float32
        torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(seen.var((0, 2, 3), correction=0), torch.ones(3))


def test_images_without_standardisation(quick, images):
    """Images of uint8 are divided by 255, those of other types are not changed."""
    X, y = images
    seen = training_inputs(quick(standardize=False, augment=None), X, y)
    torch.testing.assert_close(seen.mean().item(), X.mean() / 255, rtol=1e-5, atol=0)
    seen = training_inputs(quick(standardize=False, augment=None), X.astype(float), y)
    torch.testing.assert_close(seen.mean().item(), X.mean(), rtol=1e-5, atol=0)


def test_tables_are_standardised_for_the_default_network_only(quick, blobs):
    """A user's module may need the raw values, for example to embed columns."""
    X, y = blobs[0] * 10 + 3, blobs[1]
    X[:, 5] = 7  # a constant column has scale 1
    raw = training_inputs(quick(), X, y)
    np.testing.assert_allclose(np.sort(raw, axis=0), np.sort(X.astype(np.float32), axis=0))
    scaled = training_inputs(quick(standardize=True), X, y)
    torch.testing.assert_close(scaled.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    variance = torch.tensor([1.0, 1, 1, 1, 1, 0])
    torch.testing.assert_close(scaled.var(0, correction=0), variance)
    default, true, false = (
        quick(standardize=value).fit(X, y).predict_proba(X) for value in ("auto", True, False)
    )
    np.testing.assert_array_equal(default, true)
    assert not np.array_equal(default, false)


def test_augmentation_by_default(quick, blobs, images):
    """Images are flipped and cropped, tables are not changed."""
    models = {
        value: quick(module_params=None, max_epochs=2, augment=value).fit(*images)
        for value in ("auto", "flip+crop", "crop", None)
    }
    proba = {value: model.predict_proba(images[0]) for value, model in models.items()}
    np.testing.assert_array_equal(proba["auto"], proba["flip+crop"])
    assert not np.array_equal(proba["auto"], proba["crop"])
    assert not np.array_equal(proba["auto"], proba[None])
    table = [quick(augment=value).fit(*blobs).predict_proba(blobs[0]) for value in ("auto", None)]
    np.testing.assert_array_equal(*table)


def test_augmentation_changes_rows_in_training_but_not_in_predict(quick, images):
    X, y = images
    calls = []

    def darken(batch, generator):
        calls.append(len(batch))
        return batch.fill_(torch.rand((), generator=generator).item() - 5)  # in place

    before = X.copy()
    seen = training_inputs(quick(augment=darken), X, y)
    assert len(seen.unique()) == len(calls) == 2  # batches of 32 and 8
    assert sum(calls) == len(X)
    np.testing.assert_array_equal(X, before)
    clf = quick(augment=darken, module=Inputs, module_params={"n_inputs": 192}, max_epochs=1)
    proba = clf.fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(proba, clf.predict_proba(X))
    assert np.ptp(proba[:, 0]) > 0.01  # if darkened, all rows would be alike


def test_meta_batches_are_augmented_too(quick, images):
    """As published: 40 rows in the warm-up epoch, 40 + 40 rows in each epoch after it."""
    calls = []

    def count(batch, generator):
        calls.append(len(batch))
        return batch

    quick(module_params=None, augment=count, max_epochs=3, batch_size=20, meta_batch_size=20).fit(
        *images
    )
    assert calls == [20] * 2 + [20, 20] * 4


# --- the unit of images -------------------------------------------------------------------------

PIXELS = ["uint8", "int16", "int64", "float32", "float64"]


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("fitted", PIXELS)
def test_pixels_of_any_dtype_are_in_the_unit_of_fit(quick, images, fitted, standardize):
    X, y = images
    clf = quick(module_params=None, max_epochs=1, weighting=None, standardize=standardize)
    expected = clf.fit(X.astype(fitted), y).predict_proba(X.astype(fitted))
    for given in PIXELS:
        np.testing.assert_array_equal(clf.predict_proba(X.astype(given)), expected)
    black = np.zeros_like(X)
    np.testing.assert_array_equal(clf.predict_proba(black), clf.predict_proba(black.astype(float)))


@pytest.mark.parametrize(
    ("fitted", "given", "message"),
    [
        (np.uint8, lambda X: X / 255, "float64 from 0 to 0.* uint8 from 0 to 255"),
        (np.uint8, lambda X: X - 128.0, "float64 from -128 to .* uint8 from 0 to 255"),
        (np.uint8, lambda X: X * 2.0, "float64 from 0 to 4.* uint8 from 0 to 255"),
        (np.uint8, lambda X: X * np.int16(16), "int16 from 0 to .* uint8 from 0 to 255"),
        (lambda X: X / 255, np.uint8, "uint8 from 0 to 2.* float64 from 0 to 0"),
        (lambda X: X / 255, np.int64, "int64 from 0 to 2.* float64 from 0 to 0"),
        (lambda X: X - 128.0, np.uint8, "uint8 from 0 to 2.* float64 from -128 to"),
        (lambda X: X * np.int16(16), np.uint8, "uint8 from 0 to 2.* int16 from 0 to 3"),
        (np.int64, lambda X: np.float32(X / 255), "float32 from 0 to 0.* int64 from 0 to 2"),
    ],
)
def test_images_that_may_be_in_another_unit_are_refused(quick, images, fitted, given, message):
    X, y = images
    X[0] = 0
    clf = quick(module_params=None, max_epochs=1, weighting=None).fit(fitted(X), y)
    for method in (clf.predict, clf.predict_proba, clf.features):
        with pytest.raises(ValueError, match=f"images of {message}.*Convert X to"):
            method(given(X))


def test_floats_are_accepted_whatever_their_range_if_floats_were_fitted(quick, images):
    """A batch may be darker or brighter than all training images."""
    X, y = images
    clf = quick(module_params=None, max_epochs=1, weighting=None).fit(X / 255, y)
    for factor in (-3, 0.001, 300):
        given = X / 255 * factor
        np.testing.assert_allclose(
            clf.predict_proba(given.astype("float32")), clf.predict_proba(given), atol=1e-5
        )


@pytest.mark.parametrize("container", [np.asarray, scipy.sparse.csr_array])
def test_a_table_is_converted_a_few_rows_at_a_time(container, global_random_seed):
    X = np.random.default_rng(global_random_seed).normal(size=(50_000, 20))
    X[3, 5] = np.nan
    rows = container(X.astype(np.float32))
    scaling = InputScaling().fit(rows)
    expected = scaling.to_tensor(rows).numpy()
    tracemalloc.start()
    columns = scaling.to_rows(rows).numpy()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(columns, expected)
    assert columns.dtype == np.float32
    assert columns.shape == (50_000, 21)  # with the indicator of missing values
    assert peak < 2 * columns.nbytes
