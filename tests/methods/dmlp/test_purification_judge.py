"""The judge of a purification: the rows that it holds out, and when given labels are kept."""

import numpy as np
import torch
from purified_problems import noisy_blobs, quick

from sknoisy import LabelPurifier
from sknoisy.methods.dmlp import judge as _judge
from sknoisy.methods.dmlp.judge import Judge, split_folds
from sknoisy.methods.dmlp.state import LabelledViews


def make_rows(n, n_classes=10, n_trusted=50):
    generator = torch.Generator().manual_seed(0)
    given = torch.eye(n_classes)[torch.randint(n_classes, (n,), generator=generator)]
    return LabelledViews([torch.zeros(n, 1)], given, torch.arange(n) < n_trusted)


def test_of_many_rows_all_trusted_ones_judge():
    rows = make_rows(20_000)
    folds = split_folds(rows, 3, torch.Generator().manual_seed(0))
    held = torch.cat([held for _, held in folds])
    assert len(held) == len(held.unique()) == 5000
    assert rows.trusted[held].sum() == 50
    for train, held in folds:
        assert not np.isin(train, held).any()
        assert len(train) + len(held) == 5000


def test_trusted_rows_make_up_half_of_the_judges_rows_at_most():
    rows = make_rows(20_000, n_trusted=15_000)
    held = torch.cat([h for _, h in split_folds(rows, 3, torch.Generator().manual_seed(0))])
    assert rows.trusted[held].sum() == 2500


def test_coins_stay_as_they_are(monkeypatch):
    """Labels without relation to X: predicting the class shares is as good."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(150, 5)), rng.integers(3, size=150)
    purifier = quick().fit(X, y)
    assert purifier.n_iter_ == 0
    assert not purifier.changed_mask_.any()
    X, given, _ = noisy_blobs()
    assert quick().fit(X, given).n_iter_ > 0
    monkeypatch.setattr(_judge.Judge, "keep_given_labels", True)
    assert not quick().fit(X, given).changed_mask_.any()


def test_coins_stay_as_they_are_on_many_columns():
    """The relevance of the columns has seen the labels of the rows that judge the rounds."""
    n_kept = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(200, 40)), rng.integers(3, size=200)
        n_kept += not quick(random_state=seed).fit(X, y).changed_mask_.any()
    assert n_kept >= 7


def test_the_best_round_has_the_largest_likelihood(monkeypatch):
    rounds, plan_round = [], Judge.plan_round

    def watch(judge):
        plan = plan_round(judge)
        rounds.append((judge.likelihoods[-1], judge._judged(judge._states), judge))
        return plan

    monkeypatch.setattr(Judge, "plan_round", watch)
    X, y, _ = noisy_blobs(0.3)
    LabelPurifier(random_state=0).fit(X, y)
    _, judged, judge = max(rounds, key=lambda entry: entry[0])
    assert len(rounds) > 1
    assert torch.equal(judge._best, judged)
    assert not torch.equal(judged, judge._unchanged)
