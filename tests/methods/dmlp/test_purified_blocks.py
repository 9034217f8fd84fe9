"""Blocks of rows are purified one after the other, from arrays and from streams."""

import numpy as np
import pytest
from purified_problems import quick
from sklearn.preprocessing import FunctionTransformer
from streamed_rows import CONTAINERS, Items, stored

from sknoisy import CLIDMUClassifier, LabelPurifier, PurifiedClassifier
from sknoisy._engine.construction import random_state_of
from sknoisy._engine.stream_sources import as_stream
from sknoisy.exceptions import InterruptedFitWarning
from sknoisy.methods.dmlp import blocks as _blocks
from sknoisy.methods.dmlp.blocks import FrozenRows, split_blocks

N = 600


@pytest.fixture(scope="module")
def problem():
    """Rows around three corners, labels of which 30 % are wrong, and clean labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=N)
    X = rng.normal(size=(N, 4)).astype(np.float32)
    X[:, :3] += 3 * np.eye(3, dtype=np.float32)[y]
    return X, np.where(rng.random(N) < 0.3, (y + 1) % 3, y), y


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 200 rows."""
    monkeypatch.setattr(_blocks, "_BLOCK_ROWS", 200)


def purifier(**parameters):
    return quick(chunk_size=100, **parameters)


# --- the blocks ---------------------------------------------------------------------------------


def test_few_rows_are_one_block():
    (block,) = split_blocks(None, np.zeros(50, int), np.zeros(50, bool), 10, None)
    np.testing.assert_array_equal(block, np.arange(50))


def test_every_block_has_its_part_of_each_class_and_all_trusted_rows(small_blocks):
    given = np.repeat([0, 1, 2], [500, 300, 30])
    trusted = np.zeros(830, dtype=bool)
    trusted[::83] = True
    parts = split_blocks(None, given, trusted, 10, np.random.RandomState(0))
    assert all(len(part) <= 200 for part in parts)
    np.testing.assert_array_equal(np.unique(np.concatenate(parts)), np.arange(830))
    for part in parts:
        assert (np.diff(part) > 0).all()
        assert trusted[part].sum() == trusted.sum()
    counts = np.array([np.bincount(given[part][~trusted[part]]) for part in parts])
    assert np.ptp(counts, axis=0).max() <= 1
    assert sum(len(part) for part in parts) == 830 + (len(parts) - 1) * trusted.sum()


def test_blocks_of_many_rare_classes_have_one_size(small_blocks):
    """No block is empty or too large where classes have fewer rows than there are blocks."""
    given = np.r_[np.zeros(300, int), 1 + np.arange(700) // 2]
    parts = split_blocks(None, given, np.zeros(1000, bool), 10, np.random.RandomState(0))
    assert [len(part) for part in parts] == [200] * 5
    assert {(given[part] == 0).sum() for part in parts} == {60}
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(1000))


def test_trusted_rows_take_half_of_a_block_at_most(small_blocks):
    trusted = np.arange(1000) < 700
    parts = split_blocks(None, np.arange(1000) % 2, trusted, 10, np.random.RandomState(0))
    assert {trusted[part].sum() for part in parts} == {100}
    np.testing.assert_array_equal(
        np.sort(np.concatenate([part[~trusted[part]] for part in parts])), np.arange(700, 1000)
    )


def test_a_chunk_is_never_divided(small_blocks):
    given, trusted = np.arange(1350) % 2, np.zeros(1350, dtype=bool)
    parts = split_blocks(None, given, trusted, 450, np.random.RandomState(0))
    assert [len(part) for part in parts] == [450, 450, 450]


def test_two_blocks_of_rows_are_one(small_blocks):
    given, trusted = np.arange(401) % 2, np.zeros(401, dtype=bool)
    rng = np.random.RandomState(0)
    sizes = [len(split_blocks(None, given[:n], trusted[:n], 10, rng)) for n in (400, 401)]
    assert sizes == [1, 3]


def test_blocks_of_a_file_are_its_windows(small_blocks, monkeypatch, tmp_path):
    monkeypatch.setattr("sknoisy._engine.parquet_rows._BLOCK_ROWS", 50)
    X = np.arange(1200, dtype=np.float32).reshape(600, 2)
    stream = as_stream(stored(X, "path", tmp_path))
    stream.windows.n_blocks = 4
    assert len(stream.windows) == 3
    given = np.zeros(600, dtype=int)
    parts = split_blocks(stream, given, given == 1, 10, np.random.RandomState(0))
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(600))
    assert all(len(np.unique(part // 50)) <= 5 for part in parts)  # of 12 row groups


# --- their labels -------------------------------------------------------------------------------


def test_labels_of_all_blocks_are_purified(problem, small_blocks):
    X, given, clean = problem
    fitted = purifier().fit(X, given)
    parts = blocks_of(fitted, X, given)
    assert len(parts) == 3
    assert fitted.n_iter_ > 0
    for part in parts:
        right = [
            (labels[part] == clean[part]).mean() for labels in (given, fitted.purified_labels_)
        ]
        assert right[1] > right[0] + 0.1
        assert np.isin(part, fitted.validation_rows_).sum() >= 3
    assert fitted.label_distribution_.dtype == np.float32
    np.testing.assert_allclose(fitted.label_distribution_.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(fitted.transition_.sum(axis=1), 1)
    again = purifier().fit(X, given)
    np.testing.assert_array_equal(again.label_distribution_, fitted.label_distribution_)


def blocks_of(fitted, X, given):
    """Return the row numbers of the blocks of a fitted purifier."""
    seeds = random_state_of(fitted.random_state).randint(np.iinfo(np.int32).max, size=2)
    rng = np.random.RandomState(int(seeds[1]))
    return split_blocks(X, given, np.zeros(N, bool), fitted.chunk_size, rng)


@pytest.mark.parametrize("parameters", [{"n_folds": 0}, {"correction": "auxiliary"}])
def test_blocks_follow_the_plans_of_the_first(problem, small_blocks, parameters):
    """Without a judge, labels take intrinsic steps in every block."""
    X, given, clean = problem
    fitted = purifier(**parameters).fit(X, given)
    assert (fitted.purified_labels_ == clean).mean() > (given == clean).mean() + 0.1


def test_given_labels_that_the_first_block_keeps_are_kept_in_all(
    problem, small_blocks, monkeypatch
):
    X, given, _ = problem
    monkeypatch.setattr("sknoisy.methods.dmlp.judge.Judge.keep_given_labels", True)
    fitted = purifier().fit(X, given)
    assert not fitted.changed_mask_.any()
    assert len(np.unique(fitted.clean_proba_.round(6))) > N / 2  # each is rated by its features


def test_trusted_labels_are_kept_in_all_blocks(problem, small_blocks):
    X, given, clean = problem
    trusted = np.arange(N) % 4 == 0
    labels = np.where(trusted, clean, given)
    fitted = purifier().fit(X, labels, clean_mask=trusted)
    np.testing.assert_array_equal(fitted.validation_rows_, np.flatnonzero(trusted))
    np.testing.assert_array_equal(fitted.clean_proba_[trusted], 1)
    assert (fitted.purified_labels_ == clean).mean() > 0.9


def test_only_a_block_of_features_exists_at_a_time(problem, small_blocks, monkeypatch):
    X, given, _ = problem
    taken, take = [], FrozenRows.take

    def watch(rows, numbers):
        found = take(rows, numbers)
        taken.append(len(found.given))
        return found

    monkeypatch.setattr(FrozenRows, "take", watch)
    purifier().fit(X, given)
    assert taken == [200, 200, 200]


def test_an_interruption_keeps_the_labels_of_the_blocks_that_follow(
    problem, small_blocks, monkeypatch
):
    X, given, _ = problem
    take, calls = FrozenRows.take, []

    def interrupt(rows, numbers):
        calls.append(numbers)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return take(rows, numbers)

    whole = purifier().fit(X, given)
    monkeypatch.setattr(FrozenRows, "take", interrupt)
    with pytest.warns(InterruptedFitWarning, match="interrupted in block 3 of 3; the labels are"):
        fitted = purifier().fit(X, given)
    assert fitted.interrupted_
    parts = blocks_of(fitted, X, given)
    for part in parts[:2]:
        np.testing.assert_array_equal(
            fitted.label_distribution_[part], whole.label_distribution_[part]
        )
    assert not fitted.changed_mask_[parts[2]].any()
    assert fitted.changed_mask_[parts[0]].any()
    # A kept label is rated by the share of right ones among the rows with this label.
    rated = fitted.clean_proba_[parts[2]]
    assert len(np.unique(rated.round(9))) == 3
    assert 0.6 < rated.min() < rated.max() < 0.95


def test_a_bad_feature_is_named_by_its_row_among_all(problem, small_blocks):
    X, given, _ = problem

    def spoil(rows):
        features = np.array(rows)
        features[rows[:, 0] == X[577, 0]] = np.nan
        return features

    with pytest.raises(ValueError, match="for 1 rows, the first of which is row 577"):
        purifier(representation=FunctionTransformer(spoil)).fit(X, given)


# --- streams ------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
def test_streamed_rows_have_the_labels_of_the_array(problem, container, tmp_path):
    X, given, _ = problem
    expected = quick().fit(X, given)
    X_returned, labels = quick().fit_resample(source := stored(X, container, tmp_path), given)
    assert X_returned is source
    np.testing.assert_array_equal(labels, expected.purified_labels_)
    assert expected.changed_mask_.any()


@pytest.mark.parametrize("container", CONTAINERS)
def test_blocks_of_streamed_rows_are_purified(problem, small_blocks, container, tmp_path):
    X, given, clean = problem
    fitted = purifier().fit(stored(X, container, tmp_path), given)
    assert (fitted.purified_labels_ == clean).mean() > 0.9


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_a_network_learns_the_purified_labels_of_a_file(problem, tmp_path):
    X, given, clean = problem
    network = CLIDMUClassifier(max_epochs=6, module_params={"hidden": (8,)}, random_state=0)
    path = stored(X, "path", tmp_path)
    clf = PurifiedClassifier(quick(), network).fit(path, given)
    assert (clf.predict(path) == clean).mean() > 0.85


@pytest.mark.parametrize("representation", ["scarf", FunctionTransformer()])
def test_encoders_and_transformers_need_an_array(problem, representation):
    X, given, _ = problem
    with pytest.raises(TypeError, match="Collect its rows once"):
        LabelPurifier(representation=representation).fit(Items(X), given)


def test_large_images_of_a_data_set_need_an_array_or_no_encoder():
    y = np.arange(40) % 2
    images = np.random.default_rng(0).integers(0, 128, (40, 20, 20, 3), dtype=np.uint8)
    images[y == 1] += 100
    with pytest.raises(TypeError, match=r"images of the shape \(20, 20, 3\).*representation=None"):
        LabelPurifier().fit(Items(images), y)
    fitted, expected = (quick(representation=None).fit(X, y) for X in (Items(images), images))
    np.testing.assert_array_equal(fitted.label_distribution_, expected.label_distribution_)
