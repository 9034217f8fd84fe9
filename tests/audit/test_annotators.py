"""Several annotators: encoding, majority and Dawid-Skene."""

import numpy as np
import pandas as pd
import pytest
from annotator_labels import CODES, PROBA, _, simulate
from numpy.testing import assert_allclose, assert_array_equal

from sknoisy.audit import annotators
from sknoisy.audit.annotators import dawid_skene, encode_annotations, majority_vote


@pytest.fixture
def rng(global_random_seed):
    return np.random.default_rng(global_random_seed)


# --- encoding -----------------------------------------------------------------------------------

NAMES = np.array(["ant", "bee", "cat", None], dtype=object)


@pytest.mark.parametrize("missing", [None, np.nan, "", pd.NA])
@pytest.mark.parametrize("container", [np.asarray, list, pd.DataFrame])
def test_strings_with_any_kind_of_gap(missing, container):
    labels = NAMES[CODES]
    labels[CODES < 0] = missing
    classes, codes = encode_annotations(container(labels))
    assert classes.tolist() == ["ant", "bee", "cat"]
    assert_array_equal(codes, CODES)


def test_numbers_and_booleans():
    labels = np.where(CODES < 0, np.nan, CODES - 5.0)
    classes, codes = encode_annotations(labels)
    assert classes.tolist() == [-5, -4, -3]
    assert_array_equal(codes, CODES)
    classes, codes = encode_annotations([[True, None], [False, True]])
    assert classes.tolist() == [False, True]
    assert codes.tolist() == [[1, -1], [0, 1]]


def test_a_single_annotator_may_come_as_a_column():
    codes = encode_annotations(pd.DataFrame({"only": ["b", "a", None]})).codes
    assert codes.tolist() == [[1], [0], [-1]]


def test_wrong_labels_are_refused():
    with pytest.raises(ValueError, match="no label"):
        encode_annotations([[None, ""], [None, np.nan]])
    with pytest.raises(ValueError, match=r"labels has shape \(2, 1, 1\)"):
        encode_annotations(np.zeros((2, 1, 1)))
    with pytest.raises(TypeError, match="mixes labels of the types"):
        encode_annotations([["a", 1], ["b", 2]])


# --- majority -----------------------------------------------------------------------------------


def test_golden_majority():
    assert majority_vote(CODES, 3, PROBA).tolist() == [0, 0, 1, 2, 0, 2, 2, 1, 0, 2]


def test_probabilities_decide_ties_alone():
    codes = np.array([[0, 1], [0, 0]])
    assert majority_vote(codes, 3, np.array([[0.1, 0.2, 0.7]] * 2)).tolist() == [1, 0]
    assert majority_vote(codes, 3, np.array([[0.2, 0.1, 0.7]] * 2)).tolist() == [0, 0]
    assert majority_vote(codes, 3, np.array([[0.0, 1.0, 0.0]] * 2)).tolist() == [1, 0]


def test_without_probabilities_the_commoner_label_wins_a_tie():
    assert majority_vote(np.array([[0, 1], [1, 1]]), 2).tolist() == [1, 1]
    assert majority_vote(np.array([[0, 1], [_, _]]), 2).tolist() == [0, -1]


# --- Dawid-Skene --------------------------------------------------------------------------------


def test_golden_first_step(monkeypatch):
    monkeypatch.setattr(annotators, "_MAX_STEPS", 1)
    result = dawid_skene(CODES, 3, smoothing=0)
    assert_allclose(result.prior, [0.333333, 0.383333, 0.283333], atol=5e-7)
    assert_allclose(result.proba[0], [0.953908, 0.046092, 0], atol=5e-7)
    assert_allclose(result.proba[3], [0, 0.161972, 0.838028], atol=5e-7)
    assert_allclose(result.proba[7], [0.245842, 0.582068, 0.172090], atol=5e-7)
    assert_allclose(result.log_likelihood, -21.138195, atol=5e-7)


def test_golden_fixed_points():
    result = dawid_skene(CODES, 3, smoothing=0)
    assert_allclose(result.log_likelihood, -18.197903, atol=5e-7)
    assert_allclose(result.prior, [0.459067, 0.3, 0.240933], atol=5e-7)
    result = dawid_skene(CODES, 3)
    assert_allclose(result.log_likelihood, -18.336840, atol=5e-7)
    assert_allclose(result.proba[7], [0.587408, 0.007519, 0.405073], atol=5e-7)


@pytest.mark.parametrize("smoothing", [0, 0.01, 1])
def test_the_objective_never_falls(rng, smoothing):
    codes = simulate(rng, [0.8, 0.6, 0.4, 0.3], n_rows=100, share=0.7)[1]
    result = dawid_skene(codes, 4, smoothing=smoothing)
    assert len(result.objective) > 5
    assert np.diff(result.objective).min() > -1e-9
    assert_allclose(result.proba.sum(axis=1), 1)
    assert_allclose(result.confusion.sum(axis=2), 1)
    if smoothing == 0:
        assert result.objective[-1] == result.log_likelihood


def test_the_likelihood_is_that_of_the_model():
    """The definition, label by label."""
    result = dawid_skene(CODES, 3)
    total = 0.0
    for row in CODES:
        of_class = result.prior.copy()
        for annotator, label in enumerate(row):
            if label >= 0:
                of_class = of_class * result.confusion[annotator, :, label]
        total += np.log(of_class.sum())
    assert_allclose(result.log_likelihood, total)


def test_confusion_of_the_annotators_is_found(rng):
    true, codes = simulate(rng, [0.95, 0.8, 0.6], n_rows=2000)
    result = dawid_skene(codes, 4)
    for a in range(3):
        counts = np.zeros((4, 4))
        np.add.at(counts, (true, codes[:, a]), 1)
        # Five standard errors of a share of 500 rows, which is 0.022 at most.
        assert_allclose(result.confusion[a], counts / counts.sum(axis=1, keepdims=True), atol=0.11)


def test_two_good_annotators_among_bad_ones_beat_the_majority(rng):
    gains = []
    for _draw in range(10):
        true, codes = simulate(rng, [0.9, 0.9, 0.4, 0.4, 0.4], n_rows=500)
        found = (dawid_skene(codes, 4).consensus == true).mean()
        gains.append(found - (majority_vote(codes, 4) == true).mean())
    assert np.mean(gains) > 3 * np.std(gains, ddof=1) / np.sqrt(10)


def test_a_row_without_labels_has_the_prior():
    more = np.vstack([CODES, [[_, _, _]]])
    result, expected = dawid_skene(more, 3), dawid_skene(CODES, 3)
    assert_array_equal(result.proba[10], result.prior)
    assert_allclose(result.proba[:10], expected.proba)
    assert result.log_likelihood == pytest.approx(expected.log_likelihood)


def test_an_annotator_without_labels_changes_nothing():
    more = np.column_stack([CODES, np.full(10, _)])
    result, expected = dawid_skene(more, 3), dawid_skene(CODES, 3)
    assert_allclose(result.proba, expected.proba)
    assert_allclose(result.confusion[3], 1 / 3)
    assert_allclose(dawid_skene(more, 3, smoothing=0).confusion[3], 1 / 3)


def test_labels_are_believed_if_no_row_has_several():
    codes = np.array([0, 1, 2, 1, 0, 0])[:, None]
    assert_array_equal(dawid_skene(codes, 3).consensus, codes[:, 0])
    apart = np.array([[0, _], [1, _], [_, 2], [_, 1], [_, _]])
    assert dawid_skene(apart, 3).consensus.tolist()[:4] == [0, 1, 2, 1]


def test_dawid_skene_needs_a_label():
    with pytest.raises(ValueError, match="holds no label"):
        dawid_skene(np.full((10, 2), _), 3)
