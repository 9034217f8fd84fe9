"""Rows of a group do not confirm each other in the ensemble."""

import numpy as np
import pytest
from patients import patients
from sklearn.metrics import roc_auc_score

from sknoisy import NoisyLabelClassifier
from sknoisy.methods.registry import METHODS

NETWORKS = {"module_params": {"hidden": (32,)}, "max_epochs": 10}

pytestmark = pytest.mark.usefixtures("small_forests")


def judged(problem, groups):
    """Return the quality of the ranking of wrong rows, and the share of changed labels."""
    clf = NoisyLabelClassifier(network_params=NETWORKS, random_state=0)
    clf.fit(problem.X, problem.y, groups=groups)
    return roc_auc_score(problem.is_wrong, -clf.clean_proba_), clf.choice_.noise_rate


def test_groups_make_the_ranking_of_wrong_rows_better(global_random_seed):
    """Of whole patients that are mislabelled; averaged over several draws."""
    problems = [patients(10 * global_random_seed + seed, n_patients=80) for seed in range(4)]
    with_groups = np.array([judged(problem, problem.patient) for problem in problems])
    without = np.array([judged(problem, None) for problem in problems])
    assert with_groups[:, 0].mean() > without[:, 0].mean() + 0.05
    assert without[:, 1].mean() < 0.1  # a fifth is wrong
    assert 0.1 < with_groups[:, 1].mean() < 0.3


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"dmlp", "mild"}))
def test_methods_that_leave_no_rows_out_refuse_groups(blobs, method):
    X, y = blobs
    clf = NoisyLabelClassifier(method=method)
    message = f"takes none; the method is '{method}' because it was asked for"
    with pytest.raises(TypeError, match=message):
        clf.fit(X, y, groups=np.arange(len(y)))


@pytest.mark.parametrize(("method", "network"), [("auto", "CLIDMUClassifier"), ("l2r", "L2RClas")])
def test_parameters_that_a_network_lacks_are_refused_by_name(blobs, method, network):
    X, y = blobs
    name = "selector" if method == "auto" else "n_views"
    clf = NoisyLabelClassifier(method=method, network_params={name: 0.1, "lr": 0.1})
    message = rf"network_params has \['{name}'\], but {network}.* no such parameter\. Leave it out"
    with pytest.raises(TypeError, match=message):
        clf.fit(X, y)
