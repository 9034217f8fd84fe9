"""Several annotators and a model: CROWDLAB."""

import warnings

import numpy as np
import pytest
from annotator_labels import CODES, PROBA, _, simulate
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from sknoisy.audit.annotators import majority_vote
from sknoisy.audit.crowdlab import crowdlab


def model_of(rng, true, n_classes=4):
    """Class probabilities by a model that is right most of the time."""
    return np.array([rng.dirichlet(0.5 + 3 * np.eye(n_classes)[k]) for k in true])


@pytest.fixture
def rng(global_random_seed):
    return np.random.default_rng(global_random_seed)


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


def test_crowdlab_needs_a_label():
    with pytest.raises(ValueError, match="holds no label"):
        crowdlab(np.full((10, 2), _), PROBA)
