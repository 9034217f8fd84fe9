"""Several annotators: ten rows labelled by three of them, and simulated ones."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from sknoisy.audit import annotators
from sknoisy.audit.annotators import crowdlab, dawid_skene, encode_annotations, majority_vote

_ = -1
CODES = np.array(
    [
        *([0, 0, _], [0, 1, 0], [1, 1, _], [2, 2, 1], [_, 0, 0]),
        *([1, _, 2], [2, 2, 2], [_, _, 1], [0, 0, 1], [2, 1, 2]),
    ]
)
PROBA = np.array(
    [
        *([0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6], [0.7, 0.2, 0.1]),
        *([0.1, 0.3, 0.6], [0.05, 0.15, 0.8], [0.3, 0.4, 0.3], [0.4, 0.5, 0.1], [0.2, 0.2, 0.6]),
    ]
)


def simulate(rng, accuracies, n_rows=300, n_classes=4, share=1.0):
    """True classes, and labels by annotators who are right with these probabilities."""
    true = rng.integers(n_classes, size=n_rows)
    shape = (n_rows, len(accuracies))
    wrong = (true[:, None] + rng.integers(1, n_classes, size=shape)) % n_classes
    codes = np.where(rng.random(shape) < accuracies, true[:, None], wrong)
    return true, np.where(rng.random(shape) < share, codes, -1)


def model_of(rng, true, n_classes=4):
    """Class probabilities by a model that is right most of the time."""
    return np.array([rng.dirichlet(0.5 + 3 * np.eye(n_classes)[k]) for k in true])


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


# --- CROWDLAB -----------------------------------------------------------------------------------


def test_golden_crowdlab():
    """cleanlab 2.9.0 (get_label_quality_multiannotator) gives these numbers."""
    result = crowdlab(CODES, PROBA)
    assert_allclose(result.weights, [0.307692, 0.169231, 0.000001], atol=5e-7)
    assert_allclose(result.model_weight, 1.239355, atol=5e-7)
    assert_array_equal(result.consensus, majority_vote(CODES, 3, PROBA))
    expected = [
        *(0.798971, 0.586073, 0.726759, 0.654547, 0.711569),
        *(0.500923, 0.798971, 0.4, 0.510123, 0.586073),
    ]
    assert_allclose(result.quality, expected, atol=5e-7)
    assert_allclose(result.label_quality[1], [0.586073, 0.313413, 0.586073], atol=5e-7)
    assert_allclose(result.annotator_quality, [0.689603, 0.631060, 0.571267], atol=5e-7)


def test_the_posterior_is_that_of_the_definition(rng):
    """The weighted mean of the vectors of the labels and of the model, row by row."""
    result = crowdlab(CODES, PROBA)
    accuracy = np.mean([1, 2 / 3, 1, 2 / 3, 1, 1 / 2, 1, 2 / 3, 2 / 3])  # of the majority
    for row, (labels, p) in enumerate(zip(CODES, PROBA, strict=True)):
        total, weight = result.model_weight * p, result.model_weight
        for label, w in zip(labels, result.weights, strict=True):
            if label >= 0:
                total = total + w * np.where(np.arange(3) == label, accuracy, (1 - accuracy) / 2)
                weight += w
        assert_allclose(result.posterior[row : row + 1][0], total / weight)
    assert_array_equal(result.posterior[:].argmax(axis=1), result.consensus)
    assert_array_equal(result.posterior[np.array([3, 1])], result.posterior[:][[3, 1]])
    counts = (CODES >= 0).sum(axis=0)
    assert_array_equal(result.n_labels, counts)


def test_a_spammer_is_last(rng):
    true, codes = simulate(rng, [0.7, 0.95, 0.25, 0.8], share=0.6)
    result = crowdlab(codes, model_of(rng, true))
    assert result.annotator_quality.argmin() == result.weights.argmin() == 2
    assert result.annotator_quality[1] > result.annotator_quality[0]


def test_the_model_helps_where_few_labels_are_given(rng):
    gains = []
    for _draw in range(10):
        true, codes = simulate(rng, [0.6, 0.6, 0.6], share=0.5)
        proba = model_of(rng, true)
        right = (crowdlab(codes, proba).consensus == true).mean()
        gains.append(right - (majority_vote(codes, 4, proba) == true).mean())
    assert np.mean(gains) > 3 * np.std(gains, ddof=1) / np.sqrt(10)


def test_rows_and_annotators_without_labels_are_allowed():
    expected = crowdlab(CODES, PROBA)
    codes = np.column_stack([np.vstack([CODES, [[_, _, _]]]), np.full(11, _)])
    result = crowdlab(codes, np.vstack([PROBA, [[0.2, 0.5, 0.3]]]))
    assert_allclose(result.quality, [*expected.quality, 0.5])
    assert result.consensus[10] == 1
    assert_allclose(result.annotator_quality, [*expected.annotator_quality, np.nan])
    assert_array_equal(result.agreement, [*expected.agreement, np.nan])
    assert np.isnan(result.label_quality[:, 3]).all()
    assert result.n_labels[3] == 0


def test_an_annotator_without_common_rows_has_the_agreement_of_all():
    alone = np.full(12, _)
    alone[10:] = [0, 1]
    codes = np.column_stack([np.vstack([CODES, np.full((2, 3), _)]), alone])
    proba = np.vstack([PROBA, [[0.8, 0.1, 0.1], [0.3, 0.4, 0.3]]])
    result = crowdlab(codes, proba)
    assert result.weights[:3].min() < result.weights[3] < result.weights[:3].max()
    assert np.isnan(result.agreement[3])
    assert_allclose(result.annotator_quality[3], np.nanmean(result.label_quality[:, 3]))


def test_one_annotator_and_the_model_count_alike():
    codes = np.array([0, 0, 1, 2, 0])[:, None]
    result = crowdlab(codes, PROBA[:5])
    assert result.weights.tolist() == [1]
    assert result.model_weight == 1
    # The model agrees with all five labels, so a label is right with certainty.
    assert_allclose(result.label_quality[:, 0], (1 + PROBA[np.arange(5), codes[:, 0]]) / 2)
    # With one of five labels against the model, that label is right with probability 0.8.
    codes[0] = 1
    result = crowdlab(codes, PROBA[:5])
    assert_allclose(result.label_quality[0, 0], (0.8 + 0.1) / 2)


def test_if_one_label_is_the_majority_everywhere_weights_are_equal():
    codes = np.array([[0, 0], [0, 0], [0, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = crowdlab(codes, PROBA[:3])
    assert result.weights.tolist() == [1, 1]
    assert result.model_weight == 1
    assert_allclose(result.quality, (2 + PROBA[:3, 0]) / 3)


@pytest.mark.parametrize("combine", [crowdlab, lambda codes, proba: dawid_skene(codes, 3)])
def test_no_label_at_all_is_an_error(combine):
    with pytest.raises(ValueError, match="holds no label"):
        combine(np.full((10, 2), _), PROBA)


def test_float32_and_sparse_and_pieces_give_the_same(rng, monkeypatch):
    true, codes = simulate(rng, [0.7, 0.9, 0.6], share=0.7)
    proba = model_of(rng, true)
    expected = crowdlab(codes, proba)
    monkeypatch.setattr("sknoisy.noise.probabilities._PIECE_ENTRIES", 40)
    for other in (proba, sparse.csr_array(proba), proba.astype(np.float32)):
        result = crowdlab(codes, other)
        assert_array_equal(result.consensus, expected.consensus)
        assert_allclose(result.label_quality, expected.label_quality, atol=1e-6)
        assert_allclose(result.annotator_quality, expected.annotator_quality, atol=1e-6)
