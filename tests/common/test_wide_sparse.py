"""Wide sparse rows, such as those of text: every network is trained on their reduction."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from estimators import assert_same, fit, has, outputs, over_estimators
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression

from sknoisy import LabelPurifier, PurifiedClassifier
from sknoisy.base import NetworkClassifier
from sknoisy.noise import symmetric

NEVER_SEEN = slice(350, 360)


def documents(n, rng, n_columns=700, n_own=60):
    """Return word counts (n, d) and topics: three topics have n_own rare words of their own."""
    y = rng.permutation(np.arange(n) % 3)
    frequencies = 1 / np.arange(1, n_columns + 1)
    counts = rng.poisson(30 * frequencies / frequencies.sum(), size=(n, n_columns))
    for topic in range(3):
        own = slice(n_columns - (topic + 1) * n_own, n_columns - topic * n_own)
        counts[y == topic, own] += rng.poisson(3 / n_own, size=((y == topic).sum(), n_own))
    return counts, y


@pytest.fixture
def text(global_random_seed):
    """Fresh word counts (X, y) of 120 documents; two rows and ten columns have no entry."""
    X, y = documents(120, np.random.default_rng(global_random_seed))
    X[[3, 50]] = 0
    X[:, NEVER_SEEN] = 0
    return sp.csr_array(X), y


def reads_rows(estimator):
    """Whether the estimator itself makes tensors of rows."""
    return has("batch_size")(estimator) or isinstance(estimator, LabelPurifier)


def with_wide_indices(X):
    X = X.copy()
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def with_words_never_seen(X):
    X = X.tolil()
    X[:, NEVER_SEEN] = 9
    return X.tocsr()


FORMS = (sp.csc_array, sp.coo_matrix, sp.csr_array.toarray, with_wide_indices)


@over_estimators("wide_sparse_rows_are_predicted_alike_in_every_form", reads_rows)
def test_wide_sparse_rows_are_predicted_alike_in_every_form(estimator, text):
    X, y = text
    fitted = fit(estimator, X, y)
    for change in (*FORMS, with_words_never_seen):
        assert_same(fitted, X, fitted, change(X), atol=1e-4)
    assert_same(fitted, X, pickle.loads(pickle.dumps(fitted)), X)
    whole, blocks = outputs(fitted, X), [outputs(fitted, X[:50]), outputs(fitted, X[50:])]
    for name in whole.keys() & {"predict_proba", "features", "transform"}:
        joined = np.concatenate([block[name] for block in blocks])
        assert_allclose(joined, whole[name], atol=1e-4, err_msg=name)


@over_estimators("unit_and_form_of_wide_sparse_rows_make_no_difference", reads_rows)
def test_unit_and_form_of_wide_sparse_rows_make_no_difference(estimator, text):
    X, y = text
    first = fit(estimator, X, y)
    second = fit(estimator, with_wide_indices(64.0 * X).tocsc(), y)
    assert_same(first, X, second, 64.0 * X, atol=1e-3)


@over_estimators("sparse_rows_without_entries_are_taken", reads_rows)
def test_sparse_rows_without_entries_are_taken(estimator, text):
    empty = sp.csr_array(text[0].shape)
    for output in outputs(fit(estimator, empty, text[1]), empty).values():
        assert output.dtype.kind != "f" or np.isfinite(output).all()


@pytest.fixture
def noisy_text():
    """Rows and labels for training, of which 30 % are wrong, and clean test rows."""
    X, y = documents(1800, np.random.default_rng(0), n_columns=2000)
    X = sp.csr_array(X)
    return X[:800], symmetric(y[:800], 0.3, random_state=0).y, X[800:], y[800:]


def test_rare_words_count_less_than_in_a_standardised_table(noisy_text):
    X, y, X_test, y_test = noisy_text
    network = NetworkClassifier(max_epochs=15, random_state=0)
    sparse = network.fit(X, y).score(X_test, y_test)
    dense = network.fit(X.toarray(), y).score(X_test.toarray(), y_test)
    assert sparse > dense + 0.03


def test_text_with_purified_labels_is_classified_better(noisy_text):
    X, y, X_test, y_test = noisy_text
    classifier = LogisticRegression(max_iter=1000)
    purified = PurifiedClassifier(LabelPurifier(random_state=0), classifier).fit(X, y)
    assert purified.score(X_test, y_test) > classifier.fit(X, y).score(X_test, y_test) + 0.03
    assert purified.estimator_.n_features_in_ == 2000
