"""Rows of a group do not confirm each other in the vote."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from patients import patients
from sklearn.metrics import roc_auc_score

from sknoisy import NoisyLabelClassifier
from sknoisy.methods.auto import vote
from sknoisy.methods.registry import METHODS

NETWORKS = {"module_params": {"hidden": (32,)}, "max_epochs": 10}

pytestmark = pytest.mark.usefixtures("small_forests")


def judged(problem, groups):
    found = vote.vote(problem.X, problem.y, None, None, {}, 0, None, groups=groups)
    purified = found.proba.argmax(axis=1)
    score = roc_auc_score(problem.is_wrong, -found.proba[np.arange(len(purified)), problem.y])
    return score, np.mean(purified != problem.y)


def test_groups_make_the_ranking_of_wrong_rows_better(global_random_seed):
    """Of whole patients that are mislabelled; averaged over several draws."""
    problems = [patients(10 * global_random_seed + seed, n_patients=80) for seed in range(4)]
    with_groups = np.array([judged(problem, problem.patient) for problem in problems])
    without = np.array([judged(problem, None) for problem in problems])
    assert with_groups[:, 0].mean() > without[:, 0].mean() + 0.05
    assert without[:, 1].mean() < 0.1  # a fifth is wrong
    assert 0.1 < with_groups[:, 1].mean() < 0.3


def test_a_row_is_judged_by_forests_that_have_not_seen_its_group(monkeypatch):
    problem = patients(0, n_patients=30, n_rows=4)
    seen = []
    given = vote.VotingClassifier.fit

    def spy(self, X, y, **params):
        seen.append({row.tobytes() for row in X})
        return given(self, X, y, **params)

    monkeypatch.setattr(vote.VotingClassifier, "fit", spy)
    judged(problem, problem.patient)
    n_left_out = 0
    for learned in seen:
        left_out = np.array([row.tobytes() not in learned for row in problem.X])
        shares = np.bincount(problem.patient, left_out) / 4
        assert set(shares) == {0, 1}
        n_left_out += left_out.sum()
    assert n_left_out == len(problem.X)


@pytest.mark.parametrize("n_counted", [1, 2])
def test_forests_learn_only_groups_that_count(n_counted):
    """Each fold leaves out a group that counts, so that something is left to learn from."""
    groups = np.repeat(np.arange(6), 20)
    y = np.tile([0, 1], 60)
    y[:20] = 2  # a class of the first group, which does not count
    X = np.random.default_rng(0).normal(size=(120, 3)) + 4 * y[:, None]
    weights = (groups >= 6 - n_counted).astype(float)
    found = vote.vote(X, y, None, weights, {}, 0, None, groups=groups)
    judged_rows = found.out_of_bag.any(axis=1)
    assert judged_rows[weights > 0].all() == (n_counted == 2)
    assert (found.out_of_bag[:, 2] == 0).all()
    assert_allclose(found.proba.sum(axis=1), 1)


def test_the_whole_classifier_ranks_better_with_groups(let_mild_select):
    let_mild_select(max_epochs=10, n_rounds=1, n_folds=0)
    problem = patients(1, n_patients=60, n_rows=6)
    clf = NoisyLabelClassifier(network_params=NETWORKS, random_state=0)
    scores = [
        roc_auc_score(problem.is_wrong, -clf.fit(problem.X, problem.y, groups=groups).clean_proba_)
        for groups in (None, problem.patient)
    ]
    assert scores[1] > scores[0]
    assert_allclose(clf.predict_proba(problem.X).sum(axis=1), 1)


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"dmlp", "mild"}))
def test_methods_that_leave_no_rows_out_refuse_groups(blobs, method):
    X, y = blobs
    clf = NoisyLabelClassifier(method=method)
    message = f"takes none; the method is '{method}' because it was asked for"
    with pytest.raises(TypeError, match=message):
        clf.fit(X, y, groups=np.arange(len(y)))


@pytest.mark.parametrize(("method", "network"), [("auto", "MILDClassifier"), ("l2r", "L2RClas")])
def test_parameters_that_a_network_lacks_are_refused_by_name(blobs, method, network):
    X, y = blobs
    name = "meta_lr" if method == "auto" else "n_views"
    clf = NoisyLabelClassifier(method=method, network_params={name: 0.1, "lr": 0.1})
    message = rf"network_params has \['{name}'\], but {network}.* no such parameter\. Leave it out"
    with pytest.raises(TypeError, match=message):
        clf.fit(X, y)
