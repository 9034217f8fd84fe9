"""LabelPurifier: the labels that it repairs, those that it keeps, and its outputs."""

import copy
import pickle
import random
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import sklearn
import sklearn.pipeline
import torch
from purified_problems import noisy_blobs, quick, trust
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import check_is_fitted
from torch.utils._python_dispatch import TorchDispatchMode

from sknoisy import LabelPurifier
from sknoisy.exceptions import InterruptedFitWarning
from sknoisy.methods.dmlp import frozen_features
from sknoisy.methods.dmlp.kernel_features import KernelFeatures
from sknoisy.pipeline import make_pipeline
from sknoisy.representation import SimCLR


def accuracy(labels, clean):
    return float(np.mean(labels == clean))


# --- what is repaired ---------------------------------------------------------------------------


@pytest.mark.parametrize("per_class", [0, 10])
def test_two_blobs_with_two_fifths_of_the_labels_flipped(per_class):
    rng = np.random.default_rng(0)
    clean = np.arange(400) % 2
    X = rng.normal(size=(400, 2)) + 4 * clean[:, None]
    given = np.where(rng.random(400) < 0.4, 1 - clean, clean)
    given, mask = trust(given, clean, per_class) if per_class else (given, None)
    purified = quick(n_epochs=100).fit(X, given, clean_mask=mask).purified_labels_
    assert accuracy(given, clean) < 0.65
    assert accuracy(purified, clean) > 0.95


@pytest.mark.parametrize("seed", range(6))
def test_classes_do_not_change_places(seed):
    """Of two classes with 40 % wrong labels, either may look like the other one."""
    rng = np.random.default_rng(seed)
    clean = np.arange(400) % 2
    X = rng.normal(size=(400, 2)) + 4 * clean[:, None]
    given = np.where(rng.random(400) < 0.4, 1 - clean, clean)
    for random_state in (0, 1):
        purifier = quick(random_state=random_state).fit(X, given)
        assert accuracy(purifier.purified_labels_, clean) >= accuracy(given, clean)
        assert (purifier.transition_.diagonal() >= 0.5).all()


def test_right_labels_stay():
    X, y = load_wine(return_X_y=True)
    purifier = quick(n_components=1024).fit(X, y)
    assert not purifier.changed_mask_.any()
    np.testing.assert_array_equal(purifier.purified_labels_, y)


def test_trusted_rows_turn_a_wrong_majority():
    """55 % of each class carry the next class's label: without trusted rows these seem right."""
    X, given, clean = noisy_blobs(0.55, shift=1, n=300)
    trusted, mask = trust(given, clean, 15)
    seeds = [quick(n_epochs=50, random_state=seed) for seed in range(5)]
    judged = [clone(purifier).fit(X, trusted, clean_mask=mask) for purifier in seeds]
    alone = [purifier.fit(X, given) for purifier in seeds]
    assert max(accuracy(purifier.purified_labels_, clean) for purifier in alone) < 0.6
    assert np.median([accuracy(p.purified_labels_, clean) for p in judged]) > 0.9
    judged, alone = judged[1], alone[1]
    assert judged.history_[0]["intrinsic_steps"]
    assert np.diag(judged.transition_).mean() < 0.5 < np.diag(alone.transition_).mean()


def test_the_estimated_transition_matrix_is_near_the_true_one():
    X, given, _ = noisy_blobs(0.3, shift=1, n=600)
    found = quick(n_epochs=50).fit(X, given).transition_
    expected = 0.7 * np.eye(3) + 0.3 * np.eye(3)[[1, 2, 0]]
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found, expected, atol=0.08)


def test_trusted_rows_keep_their_labels():
    X, given, clean = noisy_blobs(0.3)
    given, mask = trust(given, clean, 8)
    given[mask.nonzero()[0][0]] = (given[mask.nonzero()[0][0]] + 1) % 3  # trusted, yet wrong
    purifier = quick().fit(X, given, clean_mask=mask)
    np.testing.assert_array_equal(purifier.purified_labels_[mask], given[mask])
    np.testing.assert_array_equal(purifier.clean_proba_[mask], 1)
    assert purifier.clean_proba_[~mask].min() < 0.1
    np.testing.assert_array_equal(purifier.validation_rows_, mask.nonzero()[0])
    assert all(0 <= entry["trusted_accuracy"] <= 1 for entry in purifier.history_)


def test_pseudo_clean_rows_are_of_all_classes_and_nearly_all_right():
    X, given, clean = noisy_blobs(0.4, n=600)
    rows = quick().fit(X, given).validation_rows_
    assert set(given[rows]) == {0, 1, 2}
    assert accuracy(given[rows], clean[rows]) > 0.95


def test_clean_proba_ranks_wrong_labels_last():
    X, given, clean = noisy_blobs(0.3)
    proba = quick().fit(X, given).clean_proba_
    right = given == clean
    assert np.median(proba[right]) > 0.9
    assert np.median(proba[~right]) < 0.1


# --- what is given back -------------------------------------------------------------------------


@pytest.mark.parametrize("n_folds", [0, 3])
def test_attributes_agree_with_each_other(n_folds):
    X, given, _ = noisy_blobs()
    purifier = quick(n_folds=n_folds).fit(X, given)
    np.testing.assert_allclose(purifier.label_distribution_.sum(axis=1), 1)
    labels = purifier.classes_[purifier.label_distribution_.argmax(axis=1)]
    np.testing.assert_array_equal(labels, purifier.purified_labels_)
    np.testing.assert_array_equal(purifier.changed_mask_, labels != given)
    own = purifier.label_distribution_[np.arange(len(given)), given]
    np.testing.assert_array_equal(purifier.clean_proba_, own)
    np.testing.assert_array_equal(purifier.sample_indices_, np.arange(len(given)))
    rounds = {entry["epoch"]: entry["n_changed"] for entry in purifier.history_}
    assert rounds[purifier.n_iter_] == purifier.changed_mask_.sum()


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_no_label_changes_where_the_given_ones_are_kept(monkeypatch, is_interrupted):
    """The posterior contradicts some labels with certainty, so that its mean with them ties."""

    def interrupt(_):
        raise KeyboardInterrupt

    rng = np.random.default_rng(11)
    truth = rng.integers(2, size=120)
    X = rng.normal(size=(120, 5))
    X[:, 0] += 6 * truth
    y = np.where(rng.random(120) < 0.15, rng.integers(2, size=120), truth)
    monkeypatch.setattr("sknoisy.methods.dmlp.kernel_features._helpful_scale", lambda *_: None)
    monkeypatch.setattr("sknoisy.methods.dmlp.judge.Judge.keep_given_labels", True)
    if is_interrupted:
        monkeypatch.setattr("sknoisy.methods.dmlp.judge.Judge.plan_round", interrupt)
    purifier = LabelPurifier(random_state=11, n_components=128, n_epochs=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InterruptedFitWarning)
        purifier.fit(X, y)
    assert purifier.n_iter_ == 0
    assert not purifier.changed_mask_.any()
    np.testing.assert_array_equal(purifier.purified_labels_, y)
    assert purifier.clean_proba_.min() == np.nextafter(0.5, 1)


class LargestTensor(TorchDispatchMode):
    """Notes the number of entries of the largest tensor that an operation returns."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return result


def test_no_tensor_has_more_than_a_row_of_features_or_classes_per_row():
    n, n_classes = 600, 150
    clean = np.arange(n) % n_classes
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_classes, 6))[clean] + 0.1 * rng.normal(size=(n, 6))
    with LargestTensor() as mode:
        LabelPurifier(n_components=64, n_epochs=5, random_state=0).fit(X, clean)
    assert mode.largest <= n * 600  # a block of distances between rows


def test_labels_that_stay_are_rated_nevertheless():
    X, y = load_wine(return_X_y=True)
    y = y.copy()
    y[0] = 2  # one wrong label is no reason to purify
    purifier = quick(n_epochs=1).fit(X, y)
    assert purifier.clean_proba_.argmin() == 0


@pytest.mark.parametrize("kind", ["str", "object", "bool", "float", "list", "column"])
def test_labels_come_back_in_their_type(kind):
    X, given, _ = noisy_blobs()
    if kind == "bool":
        given = given == 0
    elif kind in ("str", "object"):
        given = np.array(["ape", "bee", "cat"], dtype=kind)[given]
    elif kind == "float":
        given = given.astype(float)
    y = given.tolist() if kind == "list" else given[:, None] if kind == "column" else given
    with pytest.warns() if kind == "column" else no_warning():
        _, purified = quick().fit_resample(X, y)
    assert type(purified) is type(y)
    assert np.shape(purified) == np.shape(y)
    purified = np.ravel(purified)
    assert purified.dtype == given.dtype
    assert 0 < np.mean(purified != given) < 0.6


def no_warning():
    import contextlib

    return contextlib.nullcontext()


@pytest.mark.parametrize("dtype", ["int64", "Int64", "category", "str"])
def test_frames_and_series_stay_themselves(dtype):
    X, given, _ = noisy_blobs()
    names = given if "nt" in dtype else np.array(["ape", "bee", "cat"])[given]
    index = np.random.default_rng(0).permutation(len(given)) + 1000
    frame = pd.DataFrame(X, columns=list("abcdef"), index=index)
    series = pd.Series(names, index=index, name="animal").astype(dtype)
    before = frame.copy(), series.copy()
    purifier = quick()
    rows, purified = purifier.fit_resample(frame, series)
    assert rows is frame
    assert purified.dtype == series.dtype
    assert purified.name == "animal"
    pd.testing.assert_index_equal(purified.index, series.index)
    codes = quick().fit(X, given).purified_labels_
    expected = codes if "nt" in dtype else np.array(["ape", "bee", "cat"])[codes]
    np.testing.assert_array_equal(purified.to_numpy(), expected)
    assert purifier.feature_names_in_.tolist() == list("abcdef")
    pd.testing.assert_frame_equal(frame, before[0])
    pd.testing.assert_series_equal(series, before[1])


def test_polars_frames_pass_through():
    X, given, _ = noisy_blobs()
    frame = pl.DataFrame(X, schema=list("abcdef"))
    rows, purified = quick().fit_resample(frame, pl.Series("label", given))
    assert rows is frame
    assert isinstance(purified, pl.Series)
    assert (purified.name, purified.dtype) == ("label", pl.Series(given).dtype)
    np.testing.assert_array_equal(purified, quick().fit(X, given).purified_labels_)


def test_sparse_rows_are_purified_as_dense_ones():
    """Sparse rows are not centred, which rotates the features but keeps inner products."""
    X, given, clean = noisy_blobs(n=300)
    matrix = scipy.sparse.csr_array(X)
    rows, purified = quick(n_components=1024).fit_resample(matrix, given)
    dense = quick(n_components=1024).fit(X, given).purified_labels_
    assert rows is matrix
    assert np.mean(purified == dense) > 0.99
    assert accuracy(purified, clean) > accuracy(given, clean) + 0.1


def test_images_are_not_flattened_on_the_way_out():
    rng = np.random.default_rng(0)
    clean = np.arange(120) % 2
    X = rng.integers(0, 128, size=(120, 8, 8, 3), dtype=np.uint8)
    X[clean == 0, :4] += 100
    X[clean == 1, 4:] += 100
    given = np.where(rng.random(120) < 0.3, 1 - clean, clean)
    purifier = quick()
    rows, purified = purifier.fit_resample(X, given)
    assert rows is X
    assert purifier.image_shape_ == (8, 8, 3)
    assert accuracy(purified, clean) > 0.95


def test_large_images_are_judged_by_learned_features(images, monkeypatch):
    X, y = images
    pixels = quick(representation="auto").fit(X, y)
    assert isinstance(pixels.representation_, KernelFeatures)
    monkeypatch.setattr(frozen_features, "_MOST_PIXELS", 191)
    learned = quick(representation="auto").fit(X, y)
    encoder, kernel = learned.representation_
    assert isinstance(encoder, SimCLR)
    # The views are independent draws of the kernel map, as of columns.
    assert isinstance(kernel, KernelFeatures)
    assert len(kernel.frequencies_) == 2


# --- nothing else changes -----------------------------------------------------------------------


def test_the_same_seed_gives_the_same_labels_bit_for_bit():
    X, given, _ = noisy_blobs(0.4)
    first, second = (quick(correction="auto").fit(X, given) for _ in range(2))
    np.testing.assert_array_equal(first.label_distribution_, second.label_distribution_)
    assert first.history_ == second.history_
    other = quick(correction="auto", random_state=1).fit(X, given)
    assert (first.label_distribution_ != other.label_distribution_).any()
    free = [quick(random_state=None).fit(X, given).label_distribution_ for _ in range(2)]
    assert (free[0] != free[1]).any()


@pytest.mark.parametrize("random_state", [0, None])
def test_arrays_and_global_state_are_as_they_were(random_state):
    def state():
        return (
            torch.get_rng_state().numpy().tobytes(),
            pickle.dumps(np.random.get_state()),  # noqa: NPY002
            random.getstate(),
            torch.is_grad_enabled(),
            torch.get_num_threads(),
        )

    X, given, clean = noisy_blobs()
    given, mask = trust(given, clean, 5)
    passed = {"X": X, "y": given, "clean_mask": mask}
    copies, before = copy.deepcopy(passed), state()
    quick(correction="auto", random_state=random_state).fit(**passed)
    assert state() == before
    for name, array in passed.items():
        np.testing.assert_array_equal(array, copies[name])
        array.flags.writeable = False
    quick().fit(**passed)


def test_a_second_fit_forgets_the_first():
    X, given, clean = noisy_blobs()
    given, mask = trust(given, clean, 5)
    purifier = quick().fit(X, given, clean_mask=mask)
    again = purifier.fit(X, given).label_distribution_
    np.testing.assert_array_equal(again, quick().fit(X, given).label_distribution_)
    with pytest.raises(ValueError, match="one class"):
        purifier.fit(X, np.zeros(len(X)))


def test_it_survives_pickling():
    X, given, _ = noisy_blobs()
    purifier = quick().fit(X, given)
    copied = pickle.loads(pickle.dumps(purifier))
    np.testing.assert_array_equal(copied.label_distribution_, purifier.label_distribution_)
    features = purifier.representation_.transform(X)
    np.testing.assert_array_equal(copied.representation_.transform(X), features)


# --- pipelines ----------------------------------------------------------------------------------


def test_a_step_of_a_pipeline_hands_purified_labels_on():
    X, given, _ = noisy_blobs()
    model = make_pipeline(quick(), LogisticRegression()).fit(X, given)
    alone = LogisticRegression().fit(*quick().fit_resample(X, given))
    np.testing.assert_array_equal(model.predict_proba(X), alone.predict_proba(X))


def test_a_plain_pipeline_refuses_it():
    X, given, _ = noisy_blobs()
    model = sklearn.pipeline.make_pipeline(quick(), LogisticRegression())
    with pytest.raises(TypeError, match="implement fit and transform"):
        model.fit(X, given)
    assert not hasattr(LabelPurifier(), "transform")


def test_the_mask_is_routed_to_the_step():
    X, given, clean = noisy_blobs(0.55, shift=1, n=300)
    given, mask = trust(given, clean, 15)
    with sklearn.config_context(enable_metadata_routing=True):
        step = quick(n_epochs=50, random_state=1).set_fit_resample_request(clean_mask=True)
        step.set_fit_request(clean_mask=True)
        model = make_pipeline(step, LogisticRegression()).fit(X, given, clean_mask=mask)
        bare = make_pipeline(clone(quick()), LogisticRegression())
        with pytest.raises(Exception, match="clean_mask"):
            bare.fit(X, given, clean_mask=mask)
    expected = clone(step).fit(X, given, clean_mask=mask).purified_labels_
    np.testing.assert_array_equal(model[0].purified_labels_, expected)
    assert accuracy(model.predict(X), clean) > 0.9


# --- guards -------------------------------------------------------------------------------------


def test_no_class_is_emptied():
    """With few rows of separable classes, whole classes were lost."""
    rng = np.random.default_rng(0)
    for seed in range(12):
        n = (10, 20, 40)[seed % 3]
        X = rng.normal(size=(n, 4))
        y = (X[:, 0] > 0.8).astype(int)
        y[:2] = 0, 1
        purifier = quick(random_state=seed, n_folds=0).fit(X, y)
        np.testing.assert_array_equal(np.unique(purifier.purified_labels_), [0, 1])
        found = purifier.classes_[purifier.label_distribution_.argmax(axis=1)]
        np.testing.assert_array_equal(found, purifier.purified_labels_)


def test_trusted_rows_are_certain():
    X, given, clean = noisy_blobs()
    given, mask = trust(given, clean, 5)
    purifier = quick().fit(X, given, clean_mask=mask)
    assert (purifier.clean_proba_[mask] == 1).all()
    np.testing.assert_array_equal(purifier.purified_labels_[mask], clean[mask])


def test_all_rows_trusted_leaves_all_as_they_are():
    X, _, clean = noisy_blobs()
    purifier = quick(n_folds=0).fit(X, clean, clean_mask=np.ones(len(X), dtype=bool))
    np.testing.assert_array_equal(purifier.purified_labels_, clean)
    assert purifier.transition_.diagonal().min() > 0.9


def test_a_fit_that_fails_leaves_nothing_fitted():
    X, given, _ = noisy_blobs()
    purifier = quick().fit(X, given)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        purifier.fit(X[:, :3], given[:5])
    with pytest.raises(NotFittedError):
        check_is_fitted(purifier)
