"""Scores through a transition matrix: golden values, unbiasedness, propriety, label types."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    PredefinedSplit,
    cross_validate,
)

from sknoisy.metrics import (
    noise_corrected_accuracy,
    noise_corrected_accuracy_score,
    noisy_log_likelihood,
    noisy_log_likelihood_score,
)
from sknoisy.noise import from_transition, pairflip_transition, symmetric_transition

THREE = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6]])
NAMES = np.array(["ant", "bee", "cat"])
FACTORIES = [noise_corrected_accuracy, noisy_log_likelihood]


@pytest.fixture
def noisy(blobs, global_random_seed):
    """Rows, noisy string labels and clean ones."""
    X, y = blobs
    return X, from_transition(NAMES[y], THREE, random_state=global_random_seed).y, NAMES[y]


# --- corrected accuracy -------------------------------------------------------------------------


def test_two_classes_by_hand():
    """The inverse matrix is [[1.4, -0.4], [-0.6, 1.6]]; the mean of z is 8 / 8."""
    given, predicted = [0, 0, 0, 1, 1, 1, 0, 1], [0, 0, 1, 1, 1, 0, 0, 1]
    result = noise_corrected_accuracy_score(given, predicted, [[0.8, 0.2], [0.3, 0.7]])
    z = np.array([1.4, 1.4, -0.4, 1.6, 1.6, -0.6, 1.4, 1.6])
    assert result.accuracy == pytest.approx(1.0)
    assert result.standard_error == pytest.approx(z.std(ddof=1) / np.sqrt(8))
    assert result.standard_error == pytest.approx(0.329502, abs=5e-7)


def test_three_classes_have_the_values_of_the_specification():
    given = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 1]
    predicted = [0, 0, 1, 0, 1, 0, 1, 2, 1, 2, 0, 2]
    assert accuracy_score(given, predicted) == pytest.approx(0.583333, abs=5e-7)
    result = noise_corrected_accuracy_score(given, predicted, THREE)
    assert result.accuracy == pytest.approx(0.763889, abs=5e-7)
    assert result.standard_error == pytest.approx(0.278387, abs=5e-7)


def test_without_noise_it_is_the_accuracy(global_random_seed):
    given, predicted = np.random.default_rng(global_random_seed).integers(0, 3, size=(2, 50))
    result = noise_corrected_accuracy_score(given, predicted, np.eye(3))
    accuracy = accuracy_score(given, predicted)
    assert result.accuracy == accuracy
    assert result.standard_error == pytest.approx(np.sqrt(accuracy * (1 - accuracy) / 49))


def test_its_expectation_over_the_noise_is_the_accuracy_on_clean_labels():
    """Each clean row stands for ten given labels, in the shares of its row of the matrix."""
    clean, predicted = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 2, 2])
    given = np.concatenate(
        [np.repeat(np.arange(3), np.rint(10 * THREE[y]).astype(int)) for y in clean]
    )
    repeated = np.repeat(predicted, 10)
    assert noise_corrected_accuracy_score(given, repeated, THREE).accuracy == pytest.approx(0.6)
    assert accuracy_score(given, repeated) < 0.5


def test_the_standard_error_is_the_spread_over_samples(global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    results = []
    for _ in range(400):
        clean, guess = rng.integers(0, 3, size=(2, 200))
        predicted = np.where(rng.random(200) < 0.4, clean, guess)
        given = from_transition(clean, THREE, random_state=rng).y
        results.append(noise_corrected_accuracy_score(given, predicted, THREE))
    accuracy, standard_error = np.array(results).T
    assert accuracy.mean() == pytest.approx(0.6, abs=4 * standard_error.mean() / 20)
    assert accuracy.std() == pytest.approx(standard_error.mean(), rel=4 / np.sqrt(800))


def test_only_the_report_is_clipped():
    given, predicted = [0, 0, 0], [0, 0, 0]
    transition = [[0.8, 0.2], [0.3, 0.7]]
    report = noise_corrected_accuracy_score(given, predicted, transition, classes=[0, 1])
    assert report.accuracy == 1
    scorer = noise_corrected_accuracy(transition, classes=[0, 1])
    model = LogisticRegression(C=1e9).fit([[-1], [1]], [0, 1])
    assert scorer(model, np.full((3, 1), -1), given) == pytest.approx(1.4)


def test_a_single_row_has_no_standard_error():
    result = noise_corrected_accuracy_score([0], [1], np.eye(2))
    assert result.accuracy == 0
    assert np.isnan(result.standard_error)


def test_symmetric_noise_changes_the_level_but_not_the_order(global_random_seed):
    given, *models = np.random.default_rng(global_random_seed).integers(0, 4, size=(9, 60))
    transition = symmetric_transition(4, 0.3)
    scores = [noise_corrected_accuracy_score(given, h, transition).accuracy for h in models]
    plain = np.array([accuracy_score(given, h) for h in models])
    np.testing.assert_allclose(scores, np.clip((plain - 0.1) / 0.6, 0, 1), atol=1e-12)


def test_labels_of_any_type_and_any_order(noisy):
    _, given, clean = noisy
    codes = {name: i for i, name in enumerate(NAMES)}
    expected = noise_corrected_accuracy_score(
        [codes[s] for s in given], [codes[h] for h in clean], THREE
    )
    assert noise_corrected_accuracy_score(given, clean, THREE) == expected
    assert noise_corrected_accuracy_score(given.astype(object), clean, THREE) == expected
    turned = noise_corrected_accuracy_score(
        given, clean, THREE[::-1, ::-1], classes=["cat", "bee", "ant"]
    )
    assert turned == pytest.approx(expected)
    bools = noise_corrected_accuracy_score([True, False], [True, True], [[0.9, 0.1], [0.2, 0.8]])
    assert bools == noise_corrected_accuracy_score([1, 0], [1, 1], [[0.9, 0.1], [0.2, 0.8]])


@pytest.mark.parametrize(
    ("transition", "message"),
    [
        (pairflip_transition(2, 0.4999), r"condition number .* 5e\+03, above 1000"),
        (np.full((3, 3), 1 / 3), "condition number"),
        ([[0.8, 0.3], [0.3, 0.7]], "Row 0 of the transition matrix sums to 1.1"),
        ([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], r"shape \(2, 3\)"),
    ],
)
def test_a_matrix_that_cannot_be_used_is_refused_before_any_fit(transition, message):
    with pytest.raises(ValueError, match=message):
        noise_corrected_accuracy(transition)
    with pytest.raises(ValueError, match=message):
        noise_corrected_accuracy_score([0, 1], [0, 1], transition)


# --- likelihood ---------------------------------------------------------------------------------


def test_without_noise_it_is_minus_the_log_loss(global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    y, proba = rng.integers(0, 3, size=40), rng.dirichlet(np.ones(3), size=40)
    score = noisy_log_likelihood_score(y, proba, np.eye(3), classes=range(3))
    assert score == pytest.approx(-log_loss(y, proba, labels=range(3)))


def test_the_true_probabilities_of_the_clean_classes_have_the_best_score(global_random_seed):
    """The plain log-likelihood is best for the probabilities of the noisy labels instead."""
    truth = np.array([0.5, 0.3, 0.2])
    of_noisy = truth @ THREE  # 0.48, 0.32, 0.2
    given = np.repeat(np.arange(3), np.rint(100 * of_noisy).astype(int))
    others = np.random.default_rng(global_random_seed).dirichlet(np.ones(3), size=50)

    def score(p, transition):
        return noisy_log_likelihood_score(given, np.tile(p, (len(given), 1)), transition)

    best = score(truth, THREE)
    assert all(score(p, THREE) < best for p in [*others, of_noisy, [1, 0, 0]])
    assert score(of_noisy, np.eye(3)) > score(truth, np.eye(3))


def test_sparse_and_single_precision_probabilities_have_the_same_score(global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    y, proba = rng.integers(0, 3, size=40), rng.dirichlet(np.ones(3), size=40)
    proba[:, 2] = 0
    proba /= proba.sum(axis=1, keepdims=True)
    dense = noisy_log_likelihood_score(y, proba, THREE)
    assert noisy_log_likelihood_score(y, sparse.csr_array(proba), THREE) == pytest.approx(dense)
    single = proba.astype(np.float32)
    assert noisy_log_likelihood_score(y, single, THREE) == pytest.approx(dense, abs=1e-6)


def test_an_impossible_label_costs_a_finite_amount():
    score = noisy_log_likelihood_score([0, 1], [[1, 0], [1, 0]], np.eye(2))
    assert score == pytest.approx(np.log(np.finfo(float).eps) / 2)


def test_probabilities_are_checked():
    with pytest.raises(ValueError, match=r"Row 1 of proba sums to 1\.2"):
        noisy_log_likelihood_score([0, 1], [[1, 0], [0.6, 0.6]], np.eye(2))
    with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
        noisy_log_likelihood_score([0, 1], np.full((2, 3), 1 / 3), np.eye(2))


# --- scorers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_scorer_computes_the_score_on_each_fold(factory, noisy):
    X, given, _ = noisy
    scorer = factory(THREE, classes=NAMES)
    results = cross_validate(
        LogisticRegression(), X, given, scoring=scorer, return_estimator=True, return_indices=True
    )
    for model, test, score in zip(
        results["estimator"], results["indices"]["test"], results["test_score"], strict=True
    ):
        if factory is noisy_log_likelihood:
            expected = noisy_log_likelihood_score(given[test], model.predict_proba(X[test]), THREE)
        else:
            inverse = np.linalg.inv(THREE)
            rows = (
                np.searchsorted(NAMES, given[test]),
                np.searchsorted(NAMES, model.predict(X[test])),
            )
            expected = inverse[rows].mean()
        assert score == pytest.approx(expected)


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("search", [GridSearchCV, HalvingGridSearchCV])
def test_searches_choose_by_the_scorer(factory, search, noisy):
    X, given, _ = noisy
    scorer = factory(THREE, NAMES)
    found = search(
        LogisticRegression(), {"C": [1e-6, 0.1]}, scoring=scorer, cv=3, error_score="raise"
    )
    found = clone(found).fit(X, given)
    assert found.best_params_ == {"C": 0.1}
    assert found.score(X, given) == pytest.approx(scorer(found.best_estimator_, X, given))


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_scorer_can_be_pickled(factory, noisy):
    X, given, _ = noisy
    model = LogisticRegression().fit(X, given)
    scorer = factory(THREE)
    assert pickle.loads(pickle.dumps(scorer))(model, X, given) == scorer(model, X, given)


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_class_that_a_training_fold_lacks(factory, noisy):
    """The first fold is tested on all rows of a class: it has probability 0 and no prediction."""
    X, given, _ = noisy
    folds = PredefinedSplit(np.where(given == "bee", 0, np.arange(len(given)) % 2))
    scores = cross_validate(
        LogisticRegression(),
        X,
        given,
        cv=folds,
        scoring=factory(THREE, NAMES),
        error_score="raise",
    )["test_score"]
    assert np.isfinite(scores).all()
    assert scores[0] < scores[1]
    with pytest.raises(ValueError, match=r"3 rows, but there are 2 classes, \['ant', 'cat'\]"):
        cross_validate(
            LogisticRegression(), X, given, cv=folds, scoring=factory(THREE), error_score="raise"
        )


@pytest.mark.parametrize("factory", FACTORIES)
def test_classes_that_do_not_fit_are_refused(factory, noisy):
    X, given, _ = noisy
    model = LogisticRegression().fit(X, given)
    with pytest.raises(ValueError, match="3 rows, but there are 2 classes"):
        factory(THREE, ["ant", "bee"])
    with pytest.raises(ValueError, match="names a class twice"):
        factory(THREE, ["ant", "bee", "bee"])
    with pytest.raises(ValueError, match=r"'ant'.*not among classes=\[0, 1, 2\]"):
        factory(THREE, [0, 1, 2])(model, X, given)
