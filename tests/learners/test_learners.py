"""The learners judge only rows that they have not seen, and learn soft labels and weights."""

from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from sknoisy._engine.trees import grow_tree
from sknoisy.learners.forest import Forest
from sknoisy.learners.hard_labels import HardLabels
from sknoisy.learners.kernel import KernelFeatures, KernelRidge, leave_out
from sknoisy.learners.linear import LinearRidge
from sknoisy.learners.part import draw_rows

N = 90
GROUPS = np.arange(N) // 3


def problem(seed=0):
    """Return rows, float32, and soft labels of three classes around three corners."""
    rng = np.random.default_rng(seed)
    codes = np.arange(N) % 3
    X = rng.normal(size=(N, 4)).astype(np.float32)
    X[:, :3] += 2 * np.eye(3)[codes]
    targets = 0.7 * np.eye(3)[codes] + 0.1
    return X, targets, codes


def kernel(kind="rbf", n_landmarks=60):
    features = KernelFeatures(kind, 1.0, None, n_landmarks, 0).fit(problem()[0])
    return KernelRidge(features, 0)


LEARNERS = {
    "forest": (partial(Forest, 40, 3, 0), np.asarray),
    "linear kernel": (partial(kernel, "linear"), np.asarray),
    "rbf kernel": (kernel, np.asarray),
    "exponential kernel": (partial(kernel, "exponential"), np.asarray),
    "linear ridge": (partial(LinearRidge, 0), sp.csr_array),
}
each_learner = pytest.mark.parametrize(("build", "rows"), LEARNERS.values(), ids=LEARNERS)


@each_learner
def test_probabilities_of_seen_and_unseen_rows(build, rows):
    X, targets, codes = problem()
    other, _, other_codes = problem(1)
    learner = build()
    held_out = learner.fit_held_out(rows(X), targets)
    for proba, truth in ((held_out, codes), (learner.predict_proba(rows(other)), other_codes)):
        assert proba.shape == (N, 3)
        assert_allclose(proba.sum(axis=1), 1)
        assert proba.min() >= 0
        assert np.mean(proba.argmax(axis=1) == truth) > 0.75
    fitted = build().fit(rows(X), targets).predict_proba(rows(other))
    assert_array_equal(fitted, learner.predict_proba(rows(other)))


@each_learner
@pytest.mark.parametrize("groups", [None, GROUPS], ids=["rows", "groups"])
def test_held_out_probabilities_do_not_see_the_label(build, rows, groups):
    """Those of other rows do. A kernel subtracts the mean of all targets, which sees a 90th."""
    X, targets, _ = problem()
    changed = targets.copy()
    seen = np.zeros(N, bool)
    seen[0] = True
    if groups is not None:
        seen = groups == groups[0]
    changed[seen] = 0.34 * targets[seen] + 0.22  # the most probable class is the same
    before, after = (build().fit_held_out(rows(X), t, None, groups) for t in (targets, changed))
    limit = np.abs(targets - changed)[seen].sum() / N
    own, others = np.abs(before - after)[seen].max(), np.abs(before - after)[~seen].max()
    assert others > 1e-4
    assert own <= (limit if isinstance(build(), KernelRidge) else 0)


@each_learner
def test_rows_without_weight_are_judged_and_not_learned(build, rows):
    X, targets, _ = problem()
    weights = np.ones(N)
    weights[:30] = 0
    changed = targets.copy()
    changed[:30] = 1 / 3
    learners = [build(), build()]
    first, second = (
        learner.fit_held_out(rows(X), t, weights)
        for learner, t in zip(learners, (targets, changed), strict=True)
    )
    assert_array_equal(first, second)
    # Of the rows that count, half or so of the trees are out of bag, and the penalty is the same.
    alone = build().fit_held_out(rows(X[30:]), targets[30:])
    assert np.abs(first[30:] - alone).mean() < 0.06
    assert not np.array_equal(first, build().fit_held_out(rows(X), targets))


@each_learner
def test_only_the_ratios_of_weights_count(build, rows):
    X, targets, _ = problem()
    weights = 1.0 + np.arange(N) % 4
    once, tenfold, none = (
        build().fit_held_out(rows(X), targets, w) for w in (weights, 16 * weights, np.ones(N))
    )
    assert_allclose(once, tenfold, atol=1e-9)
    assert_allclose(none, build().fit_held_out(rows(X), targets), atol=1e-12)
    assert np.abs(once - none).max() > 1e-3


# --- one by one ---------------------------------------------------------------------------------


def test_trees_draw_labels_from_soft_labels():
    """Of equal rows, a forest returns the mean of the targets."""
    targets = np.tile([0.6, 0.3, 0.1], (300, 1))
    forest = Forest(100, 1, 0).fit(np.zeros((300, 2), np.float32), targets)
    # The standard error of the mean over 100 trees of 300 labels is 0.003.
    assert_allclose(forest.predict_proba(np.zeros((1, 2), np.float32)), targets[:1], atol=0.012)


@pytest.mark.parametrize("min_leaf", [1, 3])
def test_a_tree_is_that_of_scikit_learn(min_leaf):
    X, targets, _ = problem()
    codes, weights = targets.argmax(axis=1), 1.0 + np.arange(N) % 3
    grown = grow_tree(X, codes, weights, 3, min_leaf, np.random.RandomState(0))
    tree = DecisionTreeClassifier(
        max_features="sqrt", min_samples_leaf=min_leaf, random_state=np.random.RandomState(0)
    ).fit(X, codes, weights)
    assert grown.node_count > 5
    assert_array_equal(grown.predict(X), tree.predict_proba(X))
    assert_array_equal(grown.compute_feature_importances(), tree.feature_importances_)
    # A class without rows changes nothing but the width of the probabilities.
    wider = grow_tree(X, 2 * codes, weights, 5, min_leaf, np.random.RandomState(0))
    assert_array_equal(wider.predict(X)[:, ::2], grown.predict(X))
    assert not wider.predict(X)[:, 1::2].any()


def test_a_tree_draws_no_more_rows_than_it_may(monkeypatch):
    X, targets, _ = problem()
    whole = Forest(5, 1, 0)._grow_all(X, targets, None, None)
    assert all(0.5 * N < len(rows) < 0.75 * N for rows in whole)
    monkeypatch.setattr("sknoisy.learners.forest._MAX_DRAWS", 12)
    assert 0 < Forest(5, 1, 0)._grow_all(X, targets, None, None)[0].size <= 12


def test_threads_and_blocks_of_rows_do_not_change_a_forest(monkeypatch):
    X, targets, _ = problem()
    targets[:5] = [0, 0, 1]
    forest = Forest(20, 1, 0)
    expected = forest.fit_held_out(X, targets, None, GROUPS), forest.predict_proba(X)
    monkeypatch.setattr("sknoisy.learners.forest._BLOCK_ROWS", 7)
    threaded = Forest(20, 1, 0, n_jobs=2)
    assert_array_equal(threaded.fit_held_out(X, targets, None, GROUPS), expected[0])
    assert_array_equal(threaded.predict_proba(X), expected[1])


def test_held_out_probabilities_are_by_the_trees_that_have_not_drawn_the_row():
    X, targets, _ = problem()
    forest = Forest(6, 1, 0)
    held_out = forest.fit_held_out(X, targets)
    votes, counts = np.zeros((N, 3)), np.zeros((N, 1))
    for tree, drawn in zip(forest._trees, forest._grow_all(X, targets, None, None), strict=True):
        unseen = np.setdiff1d(np.arange(N), drawn)
        votes[unseen] += tree.predict(X[unseen])
        counts[unseen] += 1
    seen_by_all = counts[:, 0] == 0
    assert seen_by_all.any()
    assert_allclose(held_out[~seen_by_all], (votes / np.maximum(counts, 1))[~seen_by_all])
    assert_allclose(held_out[seen_by_all], np.tile(targets.mean(axis=0), (seen_by_all.sum(), 1)))


def test_groups_without_rows_do_not_count():
    X, targets, _ = problem()
    gaps = GROUPS * 7  # codes of a part of the rows
    drawn = [Forest(5, 1, 0)._grow_all(X, targets, None, groups) for groups in (GROUPS, gaps)]
    shares = [np.mean([len(rows) for rows in of_trees]) / N for of_trees in drawn]
    assert abs(shares[0] - shares[1]) < 0.15
    assert shares[1] < 0.75


def test_trees_draw_whole_groups():
    X, targets, _ = problem()
    for drawn in Forest(5, 1, 0)._grow_all(X, targets, None, GROUPS):
        assert set(np.bincount(GROUPS, np.isin(np.arange(N), drawn))) == {0, 3}


def test_importances_find_the_columns():
    X, targets, _ = problem()
    forest = Forest(40, 3, 0).fit(X, targets)
    assert_allclose(forest.importances_.sum(), 1)
    assert forest.importances_[3] < 0.5 * forest.importances_[:3].min()


@pytest.mark.parametrize("kind", ["linear", "rbf", "exponential"])
def test_products_of_features_are_the_kernel_if_all_rows_are_landmarks(kind):
    X = problem()[0].astype(np.float64)
    scale = np.array([1.0, 2.0, 0.5, 0.0])
    phi = KernelFeatures(kind, 2.0, scale, N, 0).fit(X).transform(X)
    Z = X * scale
    squares = ((Z[:, None] - Z[None]) ** 2).sum(axis=2)
    gamma = 2.0 / np.median(squares[squares > 0])
    expected = {
        "linear": gamma * Z @ Z.T,
        "rbf": np.exp(-gamma * squares),
        "exponential": np.exp(-np.sqrt(gamma * squares)),
    }[kind]
    assert_allclose(phi @ phi.T, expected, atol=1e-5)


@pytest.mark.parametrize("groups", [None, GROUPS, np.arange(N) // 30], ids=["1", "3", "30"])
def test_leaving_out_equals_fitting_again(groups):
    """Groups of 30 rows are larger than the number of features."""
    rng = np.random.default_rng(0)
    phi, targets, weights = rng.normal(size=(N, 7)), rng.normal(size=(N, 2)), rng.uniform(size=N)
    values, vectors = np.linalg.eigh((phi * weights[:, None]).T @ phi)
    phi = phi @ vectors
    shrunk = 1 / (values + 0.7)
    coef = shrunk[:, None] * ((phi * weights[:, None]).T @ targets)
    found = leave_out(phi, targets, coef, shrunk, weights, groups)
    units = np.arange(N) if groups is None else groups
    for unit in np.unique(units):
        kept = units != unit
        weighted = phi[kept] * weights[kept, None]
        gram = weighted.T @ phi[kept] + 0.7 * np.eye(7)
        again = np.linalg.solve(gram, weighted.T @ targets[kept])
        assert_allclose(found[~kept], phi[~kept] @ again, atol=1e-10)


def test_a_kernel_learns_some_of_many_rows(monkeypatch):
    monkeypatch.setattr("sknoisy.learners.kernel._MAX_ROWS", 60)
    X, targets, codes = problem()
    assert len(draw_rows(np.ones(N), None, 60, 0)) == 60
    learned = draw_rows(np.ones(N), GROUPS, 60, 0)
    assert 0 < len(learned) <= 60
    assert set(np.bincount(GROUPS[learned], minlength=30)) == {0, 3}
    held_out = kernel().fit_held_out(X, targets)
    assert np.mean(held_out.argmax(axis=1) == codes) > 0.75
    by_groups = kernel().fit_held_out(X, targets, None, GROUPS)
    assert np.mean(by_groups.argmax(axis=1) == codes) > 0.75


@pytest.mark.parametrize("seed", range(5))
def test_a_part_leaves_out_the_groups_that_do_not_fit(seed):
    """Of a group of 3,000 rows and 200 groups of 5 rows, 120 small ones are drawn."""
    groups = np.r_[np.zeros(3000, int), 1 + np.arange(1000) // 5]
    drawn = draw_rows(np.ones(4000), groups, 600, seed)
    assert len(drawn) == 600
    assert set(np.bincount(groups[drawn])) == {0, 5}


def test_the_penalty_of_a_ridge_follows_the_length_of_the_rows():
    X, targets, _ = problem()
    rows, tenfold = sp.csr_array(X), sp.csr_array(10 * X)
    expected = LinearRidge(0).fit(rows, targets).predict_proba(rows)
    proba = LinearRidge(0).fit(tenfold, targets).predict_proba(tenfold)
    assert_allclose(proba, expected, atol=1e-3)  # the tolerance of its solver
    empty = sp.csr_array(X.shape)
    proba = LinearRidge(0).fit(empty, targets).predict_proba(empty)
    assert_allclose(proba, np.tile(targets.mean(axis=0), (N, 1)))


def test_a_classifier_learns_the_most_probable_labels():
    X, targets, codes = problem()
    weights = 1.0 + np.arange(N) % 2
    learner = HardLabels(LogisticRegression()).fit(X, targets, weights)
    expected = LogisticRegression().fit(X, codes, weights).predict_proba(X)
    assert_allclose(learner.predict_proba(X), expected)
    lacking = np.where(targets == targets.max(axis=1, keepdims=True), targets, 0)
    lacking = np.c_[np.zeros(N), lacking]
    proba = HardLabels(LogisticRegression()).fit(X, lacking).predict_proba(X)
    assert (proba[:, 0] == 0).all()
    one = HardLabels(LogisticRegression()).fit(X, np.tile([0.2, 0.8], (N, 1)))
    assert_array_equal(one.predict_proba(X), np.tile([0, 1], (N, 1)))
