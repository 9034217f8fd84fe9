"""A killed fit of every network classifier goes on from its checkpoint and ends as if unbroken."""

import numpy as np
import pytest
from estimators import QUICK, class_of, has, over_estimators, quick_estimators
from kills import Kills, check_kills
from sklearn.base import clone

from sknoisy._engine.checkpoint_file import from_bytes, read_file
from sknoisy.methods.dmlp import classifier as dmlp_classifier
from sknoisy.methods.registry import METHODS

IS_SAVED = has("checkpoint", "warm_start")


@pytest.fixture
def kills(monkeypatch):
    return Kills(monkeypatch)


@over_estimators("a_killed_fit_ends_as_the_unbroken_one", IS_SAVED)
def test_a_killed_fit_ends_as_the_unbroken_one(
    estimator, data, kills, tmp_path, global_random_seed
):
    X, y = data(estimator)
    classifier = clone(estimator).set_params(max_epochs=5, batch_size=48)  # warm-up: 1
    check_kills(kills, classifier, X, y, tmp_path, global_random_seed)


def test_all_network_classifiers_are_killed():
    names = {type(clf).__name__ for clf in quick_estimators().values() if IS_SAVED(clf)}
    assert names == {method.estimator for method in METHODS.values()}


# Methods whose first variant trains once: those of several rounds, of held-out folds.
SEVERAL = [("MILDClassifier", "none"), ("MLNTClassifier", "two iterations")]


@pytest.mark.parametrize(("name", "variant"), SEVERAL)
def test_several_rounds_go_on_in_the_round_that_was_killed(name, variant, blobs, kills, tmp_path):
    classifier = class_of(name)(**QUICK[name][variant])
    check_kills(kills, classifier, *blobs, tmp_path, 0)


def test_a_judged_purification_goes_on(blobs, kills, tmp_path, monkeypatch):
    monkeypatch.setattr(dmlp_classifier, "_N_FOLDS", 2)
    X, y = blobs
    y = np.where(np.arange(len(y)) % 3 == 0, (y + 1) % 3, y)
    classifier = class_of("DMLPClassifier")(**{**QUICK["DMLPClassifier"][""], "purifier": None})
    check_kills(kills, classifier, X, y, tmp_path, 0, n_kills=1)
    lengths = [from_bytes(t)["n_done"] for t in read_file(tmp_path / "broken.pt")["trainings"]]
    assert lengths == [3] * 5  # of two folds, each with and without purification, and the last one


@pytest.mark.parametrize("name", ["MetaWeightNetClassifier", "MLNTClassifier"])
def test_weights_and_trusted_rows(name, blobs, kills, tmp_path):
    X, y = blobs
    rows = np.arange(len(y))
    params = {"sample_weight": 1.0 + rows % 4, "clean_mask": rows % 3 == 0}
    classifier = class_of(name)(**QUICK[name][""])
    check_kills(kills, classifier, X, y, tmp_path, 0, **params)


def test_augmented_images(images, kills, tmp_path):
    settings = {**QUICK["CLIDMUClassifier"]["wnet"], "module_params": None, "batch_size": 16}
    check_kills(kills, class_of("CLIDMUClassifier")(**settings), *images, tmp_path, 0)


def test_rows_without_labels(blobs, kills, tmp_path):
    X, y = blobs
    for name in ("FlexMatchClassifier", "DivideMixClassifier"):
        classifier = class_of(name)(**QUICK[name][""])
        unlabeled = np.arange(len(y)) % 3 == 1
        kills.n_saved = 0
        (tmp_path / name).mkdir()
        check_kills(kills, classifier, X, y, tmp_path / name, 0, unlabeled_mask=unlabeled)
