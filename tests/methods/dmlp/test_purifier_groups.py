"""The purifier judges rows by other groups."""

import numpy as np
import pytest
import torch
from patients import patients
from sklearn.metrics import roc_auc_score
from torch.testing import assert_close

from sknoisy import LabelPurifier
from sknoisy.methods.dmlp.agreement import neighbourhood_votes
from sknoisy.methods.dmlp.judge import split_folds
from sknoisy.methods.dmlp.soft_labels import one_hot
from sknoisy.methods.dmlp.state import LabelledViews


def test_groups_make_the_ranking_of_wrong_rows_better(global_random_seed):
    """Of whole patients that are mislabelled; averaged over several draws."""
    scores = []
    for seed in range(4):
        problem = patients(10 * global_random_seed + seed, n_patients=80)
        purifier = LabelPurifier(n_components=256, n_epochs=30, random_state=seed)
        scores.append(
            [
                roc_auc_score(
                    problem.is_wrong,
                    -purifier.fit(problem.X, problem.y, groups=groups).clean_proba_,
                )
                for groups in (None, problem.patient)
            ]
        )
    without, with_groups = np.mean(scores, axis=0)
    assert with_groups > without + 0.1


@pytest.mark.parametrize("trusted", [False, True])
def test_folds_of_the_judge_do_not_divide_groups(trusted):
    torch.manual_seed(0)
    groups = torch.randint(30, (200,))
    given = one_hot(torch.arange(200) % 2, 2, torch.float32)
    is_trusted = torch.arange(200) % 3 < trusted
    rows = LabelledViews([torch.randn(200, 2)], given, is_trusted, groups)
    folds = split_folds(rows, 3, torch.Generator().manual_seed(0))
    assert len(folds) == 3
    for train, held in folds:
        assert not set(groups[train].tolist()) & set(groups[held].tolist())
    assert sum(len(held) for _, held in folds) == 200


def test_neighbours_are_of_other_groups():
    torch.manual_seed(0)
    centre = torch.randn(30, 3)
    groups = torch.arange(30).repeat_interleave(12)
    features = centre[groups] + 0.01 * torch.randn(360, 3)
    given = one_hot(groups % 2, 2, torch.float64)
    votes = neighbourhood_votes(features, given, groups)
    distance = torch.cdist(features, features)
    distance[groups[:, None] == groups] = torch.inf
    expected = given[distance.argsort(dim=1)[:, :10]].sum(dim=1)
    assert_close(votes, expected)
    assert_close(
        neighbourhood_votes(features, given, torch.arange(360)),
        neighbourhood_votes(features, given),
    )
