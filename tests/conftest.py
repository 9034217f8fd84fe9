"""Fixtures of the whole suite: the seed, the skip of tests that need a GPU, a small problem."""

import os

import numpy as np
import pytest
import torch
from estimators import rows_for

from sknoisy import CLIDMUClassifier
from sknoisy.audit import sources
from sknoisy.learners import candidates, second_look


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason=f"torch {torch.__version__} sees no CUDA device")
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def global_random_seed():
    """The seed of data and models: the environment variable SKNOISY_TEST_SEED, default 0."""
    return int(os.environ.get("SKNOISY_TEST_SEED", "0"))


@pytest.fixture
def blobs(global_random_seed):
    """Fresh arrays (X, y): 121 rows of 6 columns, three classes around the first three axes."""
    rng = np.random.default_rng(global_random_seed)
    y = rng.permutation(np.arange(121) % 3)
    X = rng.normal(size=(121, 6))
    X[:, :3] += 3 * np.eye(3)[y]
    return X, y


@pytest.fixture
def images(global_random_seed):
    """Fresh arrays (X, y): 40 images (8, 8, 3) of uint8, the upper or the lower half is bright."""
    rng = np.random.default_rng(global_random_seed)
    y = rng.permutation(np.arange(40) % 2)
    X = rng.integers(0, 128, size=(40, 8, 8, 3), dtype=np.uint8)
    X[y == 0, :4] += 100
    X[y == 1, 4:] += 100
    return X, y


@pytest.fixture
def data(blobs, images):
    """A factory of (X, y) for an estimator: a table, or images if the kind is "images"."""

    def make(estimator, kind="table"):
        return images if kind == "images" else (rows_for(estimator, blobs[0]), blobs[1])

    return make


@pytest.fixture
def quick(global_random_seed):
    """A factory of classifiers that are fitted in a tenth of a second, with any parameters."""

    def make(**parameters):
        max_epochs = parameters.get("max_epochs", 4)
        settings = {
            "max_epochs": max_epochs,
            "batch_size": 32,
            "meta_batch_size": 32,
            "n_meta": 64,
            "n_warmup_epochs": min(1, max_epochs - 1),  # one epoch is for the meta update
            "n_ensemble": 2,
            "random_state": global_random_seed,
        }
        if "module" not in parameters:
            settings["module_params"] = {"hidden": (16,)}
        return CLIDMUClassifier(**{**settings, **parameters})

    return make


@pytest.fixture
def problem(quick, blobs, images):
    """A factory of (classifier, X, y) with dropout on tables and augmentation on images."""

    def make(kind, **parameters):
        if kind == "images":
            return quick(module_params=None, max_epochs=3, **parameters), *images
        return quick(module_params={"hidden": (16,), "dropout": 0.3}, **parameters), *blobs

    return make


@pytest.fixture
def small_forests(monkeypatch):
    """Let forests grow few trees, and NoisyLabelClassifier judge by three folds."""
    monkeypatch.setattr(sources, "_N_TREES", 20)
    monkeypatch.setattr(candidates, "_N_TREES", 10)
    monkeypatch.setattr(second_look, "_MOST_FOLDS", 3)
