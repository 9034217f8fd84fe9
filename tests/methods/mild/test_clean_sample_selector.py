"""CleanSampleSelector: selected rows, fitted attributes and returned types."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import sklearn
import sklearn.pipeline
from numpy.testing import assert_array_equal
from side_effects import global_state
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from small_cleaners import Recorder
from small_selectors import CLEAN, GIVEN, NAMES, RIGHT, X, kept, quick, record
from torch import nn

from sknoisy import CleanSampleSelector, PurifiedClassifier
from sknoisy.datasets import load_noisy_digits
from sknoisy.methods.mild.dynamics import count_dynamics
from sknoisy.pipeline import make_pipeline

MASK = RIGHT & (np.arange(len(X)) % 4 == 0)
FOLDS = KFold(2, shuffle=True, random_state=0)


# --- what is selected ---------------------------------------------------------------------------


def test_wrong_labels_are_dropped_and_right_ones_stay():
    selector = quick().fit(X, GIVEN)
    assert RIGHT.mean() < 0.7
    assert RIGHT[selector.sample_indices_].mean() > 0.93
    assert selector.clean_mask_[RIGHT].mean() > 0.85
    assert np.median(selector.clean_proba_[RIGHT]) > 0.7 > 0.3
    assert np.median(selector.clean_proba_[~RIGHT]) < 0.2


def test_names_of_labels_have_no_effect():
    numbers, names = (quick().fit(X, y) for y in (GIVEN, NAMES))
    assert_array_equal(numbers.clean_proba_, names.clean_proba_)
    assert_array_equal(numbers.sample_indices_, names.sample_indices_)
    assert names.classes_.tolist() == ["ape", "bee", "cat"]


def test_trusted_rows_stay_even_if_their_labels_are_wrong():
    mask = MASK.copy()
    mask[np.flatnonzero(~RIGHT)[:20]] = True
    alone, selector = quick().fit(X, GIVEN), quick().fit(X, GIVEN, clean_mask=mask)
    assert not alone.clean_mask_[mask].all()
    assert selector.clean_mask_[mask].all()
    assert_array_equal(selector.clean_proba_[mask], 1)
    assert (selector.clean_proba_[~mask] < 1).any()
    assert selector.memorization_[mask].max() > 4  # their difficulty is still recorded


def test_all_rows_trusted_are_all_selected():
    selector = quick().fit(X, GIVEN, clean_mask=np.ones(len(X), bool))
    assert selector.clean_mask_.all()
    assert selector.n_iter_ == 1
    assert selector.stop_reason_ == "no row lies above the threshold"


# --- attributes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stopping", [True, False])
def test_attributes_agree_with_each_other(stopping):
    selector = quick(stopping=stopping).fit(X, GIVEN)
    n_selected = len(selector.sample_indices_)
    assert selector.sample_indices_.dtype == np.int64
    assert selector.clean_mask_.dtype == bool
    assert_array_equal(selector.sample_indices_, np.flatnonzero(selector.clean_mask_))
    rounds = selector.rounds_
    assert selector.n_iter_ == len(rounds) >= 2
    assert [entry["n_rows"] for entry in rounds] == [len(X), *kept(selector)[:-1]]
    assert kept(selector)[-1] == n_selected
    assert kept(selector) == sorted(kept(selector), reverse=True)
    assert n_selected >= 30  # ten of each class
    for entry in rounds:
        assert entry["counts"].sum() == entry["n_rows"]
        assert (np.diff(entry["scores"]) > 0).all()
        shifted = entry["mixture"].scales_.max() + entry["scores"].min()
        assert entry["threshold"] == pytest.approx(shifted)
        assert len(entry["history"]) == 8
    proba = selector.clean_proba_
    assert proba.min() >= 0
    assert proba.max() <= 1


def test_difficulties_are_those_of_the_last_round_of_each_row():
    selector = quick(n_warmup_epochs=3).fit(X, GIVEN)
    first = quick(n_warmup_epochs=3, n_rounds=1).fit(X, GIVEN)
    dropped = ~first.clean_mask_
    assert 0 < dropped.sum() < len(X)
    assert selector.n_iter_ == 2
    epochs = selector.memorization_ + selector.forgetting_
    assert_array_equal(epochs, np.where(dropped, 11, 8))
    assert_array_equal(selector.forgetting_ / epochs, selector.clean_proba_)
    assert_array_equal(selector.memorization_[dropped], first.memorization_[dropped])
    dynamics = count_dynamics(record(selector).bits_, len(X))
    assert_array_equal(selector.memorization_[~dropped], dynamics.memorization[~dropped])


def test_rows_of_a_first_round_are_those_up_to_its_threshold():
    selector = quick(n_rounds=1, min_per_class=1).fit(X, GIVEN)
    (entry,) = selector.rounds_
    scores = selector.memorization_ - selector.forgetting_
    assert_array_equal(selector.clean_mask_, scores <= entry["threshold"])
    distinct, counts = np.unique(scores, return_counts=True)
    assert_array_equal(entry["scores"], distinct)
    assert_array_equal(entry["counts"], counts)


def test_dynamics_take_a_bit_per_row_and_epoch():
    selector = quick(max_epochs=11, n_rounds=1).fit(X, GIVEN)
    assert record(selector).bits_.shape == (11, 23)  # 23 bytes have 184 bits for 180 rows
    assert record(selector).bits_.nbytes == 11 * 23


def test_a_pickle_keeps_the_fitted_attributes():
    selector = quick().fit(X, GIVEN, clean_mask=MASK)
    again = pickle.loads(pickle.dumps(selector))
    for name in ("sample_indices_", "clean_mask_", "clean_proba_", "memorization_", "forgetting_"):
        assert_array_equal(getattr(again, name), getattr(selector, name))
    assert again.stop_reason_ == selector.stop_reason_
    assert kept(again) == kept(selector)
    assert len(pickle.dumps(selector)) < 200_000  # the rows themselves are not in it


# --- nothing else changes -----------------------------------------------------------------------


def test_the_same_seed_gives_the_same_selection():
    first, second = (quick(stopping=False).fit(X, GIVEN) for _ in range(2))
    assert_array_equal(first.clean_proba_, second.clean_proba_)
    assert_array_equal(first.sample_indices_, second.sample_indices_)
    assert kept(first) == kept(second)
    other = quick(stopping=False, random_state=1).fit(X, GIVEN)
    assert (first.clean_proba_ != other.clean_proba_).any()
    free = [quick(random_state=None).fit(X, GIVEN).clean_proba_ for _ in range(2)]
    assert (free[0] != free[1]).any()


def test_draws_of_a_round_do_not_depend_on_the_number_of_rounds():
    short, long = (quick(n_rounds=n, stopping=False).fit(X, GIVEN) for n in (2, 4))
    assert kept(long)[:2] == kept(short)


@pytest.mark.parametrize("random_state", [0, None])
def test_arrays_and_global_state_are_as_they_were(random_state):
    passed = {"X": X.astype(np.float32), "y": GIVEN.copy(), "clean_mask": MASK.copy()}
    copies, before = copy.deepcopy(passed), global_state()
    quick(random_state=random_state).fit(**passed)
    assert global_state() == before
    for name, array in passed.items():
        assert_array_equal(array, copies[name])
        array.flags.writeable = False
    quick().fit(**passed)


def test_a_second_fit_forgets_the_first():
    selector = quick(stopping=False).fit(X, GIVEN, clean_mask=MASK)
    again = selector.set_params(stopping=True).fit(X[:150, :4], GIVEN[:150])
    fresh = quick().fit(X[:150, :4], GIVEN[:150])
    assert_array_equal(again.clean_proba_, fresh.clean_proba_)
    assert again.stop_reason_ == fresh.stop_reason_
    assert len(again.rounds_) == len(fresh.rounds_)
    assert again.n_features_in_ == 4
    assert vars(again).keys() == vars(fresh).keys()


def test_a_clone_is_not_fitted_and_has_the_parameters():
    selector = quick(min_memorized=0.3, metric="segments").fit(X, GIVEN)
    fresh = clone(selector)
    assert fresh.get_params() == selector.get_params()
    assert not hasattr(fresh, "clean_mask_")


# --- what is given back -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int64", "Int64", "category", "str"])
def test_frames_and_series_keep_their_index(dtype):
    index = np.random.default_rng(0).permutation(len(X)) + 1000
    frame = pd.DataFrame(X, columns=list("abcdef"), index=index)
    series = pd.Series(GIVEN if "nt" in dtype else NAMES, index=index, name="animal").astype(dtype)
    before = frame.copy(), series.copy()
    selector = quick()
    rows, labels = selector.fit_resample(frame, series)
    assert 30 < len(rows) < len(X)
    pd.testing.assert_frame_equal(rows, frame.iloc[selector.sample_indices_])
    pd.testing.assert_series_equal(labels, series.iloc[selector.sample_indices_])
    assert_array_equal(selector.sample_indices_, quick().fit(X, GIVEN).sample_indices_)
    assert selector.feature_names_in_.tolist() == list("abcdef")
    pd.testing.assert_frame_equal(frame, before[0])
    pd.testing.assert_series_equal(series, before[1])


def test_polars_frames_and_series_stay_such():
    frame, series = pl.DataFrame(X, schema=list("abcdef")), pl.Series("animal", NAMES)
    selector = quick()
    rows, labels = selector.fit_resample(frame, series)
    assert rows.equals(frame[selector.sample_indices_])
    assert labels.name == "animal"
    assert labels.to_list() == NAMES[selector.sample_indices_].tolist()


@pytest.mark.parametrize("container", [scipy.sparse.csr_array, scipy.sparse.csr_matrix])
def test_sparse_rows_stay_sparse(container):
    matrix = container(X * (np.abs(X) > 0.5))
    selector = quick()
    rows, labels = selector.fit_resample(matrix, GIVEN)
    assert isinstance(rows, container)
    expected = matrix.toarray()[selector.sample_indices_]
    assert_array_equal(rows.toarray(), expected)
    assert_array_equal(labels, GIVEN[selector.sample_indices_])
    assert RIGHT[selector.sample_indices_].mean() > 0.9


def test_lists_stay_lists():
    selector = quick()
    rows, labels = selector.fit_resample(X.tolist(), NAMES.tolist())
    assert rows == X[selector.sample_indices_].tolist()
    assert labels == NAMES[selector.sample_indices_].tolist()
    assert isinstance(labels, list)


def test_if_all_rows_are_selected_they_are_those_that_were_passed():
    rows, labels = quick(threshold="released").fit_resample(X, GIVEN)
    assert rows is X
    assert labels is GIVEN


def flat_linear(n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, n_classes))


@pytest.mark.parametrize("channels_first", [False, True])
def test_images_are_not_flattened_on_the_way_out(channels_first):
    rng = np.random.default_rng(0)
    clean = np.arange(120) % 2
    images = rng.integers(0, 128, size=(120, 8, 8, 3), dtype=np.uint8)
    images[clean == 0, :4] += 100
    images[clean == 1, 4:] += 100
    images = np.moveaxis(images, 3, 1) if channels_first else images
    given = np.where(rng.random(120) < 0.3, 1 - clean, clean)
    selector = quick(module=flat_linear, augment=None, lr=0.005)
    rows, labels = selector.fit_resample(images, given)
    assert_array_equal(labels, given[selector.sample_indices_])
    assert_array_equal(rows, images[selector.sample_indices_])
    assert rows.dtype == np.uint8
    assert selector.image_shape_ == images.shape[1:]
    assert selector.n_features_in_ == 192
    right = given == clean
    assert right[selector.sample_indices_].mean() > 0.9
    assert selector.clean_mask_[right].mean() > 0.9


# --- pipelines ----------------------------------------------------------------------------------


def test_a_step_of_a_pipeline_hands_the_selected_rows_on():
    model = make_pipeline(quick(), LogisticRegression()).fit(X, NAMES)
    alone = LogisticRegression().fit(*quick().fit_resample(X, NAMES))
    assert_array_equal(model.predict_proba(X), alone.predict_proba(X))
    assert len(model.predict(X)) == len(X)  # nothing is dropped in predict


def test_a_plain_pipeline_refuses_it():
    model = sklearn.pipeline.make_pipeline(quick(), LogisticRegression())
    with pytest.raises(TypeError, match="implement fit and transform"):
        model.fit(X, GIVEN)
    assert not hasattr(CleanSampleSelector(), "transform")


def test_a_search_hands_each_fold_its_part_of_the_mask():
    mask = MASK.copy()
    mask[np.flatnonzero(~RIGHT)[:12]] = True  # rows that are dropped unless they are trusted
    with sklearn.config_context(enable_metadata_routing=True):
        step = quick().set_fit_resample_request(clean_mask=True).set_fit_request(clean_mask=False)
        model = make_pipeline(step, LogisticRegression())
        grid = {"cleansampleselector__n_rounds": [1, 4]}
        search = GridSearchCV(model, grid, cv=FOLDS, error_score="raise", refit=False)
        search.fit(X, GIVEN, clean_mask=mask)
        bare = make_pipeline(clone(quick()), LogisticRegression())
        with pytest.raises(Exception, match="clean_mask"):
            bare.fit(X, GIVEN, clean_mask=mask)
    for n_rounds, found in zip((1, 4), search.cv_results_["mean_test_score"], strict=True):
        scores = []
        for train, test in FOLDS.split(X):
            selector = quick(n_rounds=n_rounds)
            alone = LogisticRegression().fit(
                *selector.fit_resample(X[train], GIVEN[train], clean_mask=mask[train])
            )
            assert selector.clean_mask_[mask[train]].all()
            scores.append(alone.score(X[test], GIVEN[test]))
        assert found == np.mean(scores)


def test_weights_follow_the_selected_rows_in_a_purified_classifier():
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    weights[::9] = 0
    clf = PurifiedClassifier(quick(), Recorder())
    clf.fit(X, GIVEN, clean_mask=MASK, sample_weight=weights)
    counted = np.flatnonzero(weights)
    alone = quick().fit(X[counted], GIVEN[counted], clean_mask=MASK[counted])
    rows = counted[alone.sample_indices_]
    assert_array_equal(clf.sample_indices_, rows)
    assert_array_equal(clf.estimator_.given_["sample_weight"], weights[rows])
    assert_array_equal(clf.estimator_.given_["X"], X[rows])
    assert clf.score(X, CLEAN) > 0.9


# --- digits -------------------------------------------------------------------------------------


def test_digits_without_noise_are_nearly_all_kept():
    digits = load_noisy_digits(noise=None)
    selector = CleanSampleSelector(max_epochs=15, device="cpu", random_state=0)
    selector.fit(digits.data[:600], digits.target[:600])
    assert selector.clean_mask_.mean() >= 0.97
    assert selector.n_iter_ <= 2
