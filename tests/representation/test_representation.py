"""Self-supervised transformers: reproducible, portable, and consistent with themselves."""

import copy
import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sknoisy.networks import PreActResNet
from sknoisy.representation import SCARF, MoCo, SimCLR

METHODS = pytest.mark.parametrize("method", [SimCLR, MoCo, SCARF])
PROBLEMS = pytest.mark.parametrize(
    ("method", "kind"),
    [
        (SimCLR, "table"),
        (MoCo, "table"),
        (SCARF, "table"),
        (SimCLR, "images"),
        (MoCo, "images"),
    ],
)


@pytest.fixture
def quick(global_random_seed):
    """A factory of transformers of tables that are fitted in a tenth of a second."""

    def make(method, **parameters):
        settings = {
            "max_epochs": 3,
            "batch_size": 32,
            "encoder_params": {"hidden": (16, 8)},
            "random_state": global_random_seed,
        }
        return method(**{**settings, **parameters})

    return make


@pytest.fixture
def problem(quick, blobs, images):
    """A factory of (transformer, X), with dropout in the encoder of tables."""

    def make(method, kind, **parameters):
        if kind == "images":
            return quick(method, **{"encoder_params": None, **parameters}), images[0]
        params = {"hidden": (16, 8), "dropout": 0.2}
        return quick(method, **{"encoder_params": params, **parameters}), blobs[0]

    return make


# --- reproducible -------------------------------------------------------------------------------


@PROBLEMS
def test_same_random_state_gives_the_same_features(problem, method, kind):
    transformer, X = problem(method, kind)
    first = clone(transformer).fit(X)
    torch.rand(7)  # global generators have no say
    np.random.rand(7)  # noqa: NPY002
    second = clone(transformer).fit(X)
    np.testing.assert_array_equal(first.transform(X), second.transform(X))
    np.testing.assert_array_equal(first.transform(X), transformer.fit(X).fit_transform(X))
    assert first.history_[:, "train_loss"] == second.history_[:, "train_loss"]


@PROBLEMS
def test_random_state_decides(problem, method, kind, global_random_seed):
    transformer, X = problem(method, kind)
    features = [
        clone(transformer).set_params(random_state=state).fit_transform(X)
        for state in (0, 1, None, None)
    ]
    for i, first in enumerate(features):
        assert all(np.abs(first - second).max() > 1e-3 for second in features[:i])
    rng = np.random.RandomState(5)
    transformer.set_params(random_state=rng)
    first, second = (transformer.fit_transform(X) for _ in range(2))
    assert not np.array_equal(first, second)
    transformer.set_params(random_state=np.random.RandomState(5))
    np.testing.assert_array_equal(transformer.fit_transform(X), first)


@PROBLEMS
def test_a_fit_changes_nothing_of_the_callers(problem, method, kind):
    module = nn.Sequential(nn.Flatten(), nn.Linear(192 if kind == "images" else 6, 8))
    transformer, X = problem(method, kind, encoder=module, encoder_params=None)
    weights, before = copy.deepcopy(module.state_dict()), X.copy()
    params = transformer.get_params()
    X.setflags(write=False)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    transformer.fit_transform(X)
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    np.testing.assert_array_equal(X, before)
    assert transformer.get_params() == params
    assert all(torch.equal(weights[name], value) for name, value in module.state_dict().items())
    assert module.training


def test_fits_in_threads_do_not_disturb_each_other(problem):
    made = [problem(m, "table", random_state=i)[0] for i, m in enumerate((SimCLR, MoCo, SCARF))]
    _, X = problem(SCARF, "table")
    expected = [clone(transformer).fit_transform(X) for transformer in made]
    with joblib.parallel_backend("threading"):
        results = Parallel(n_jobs=3)(delayed(clone(t).fit_transform)(X) for t in made)
    for result, features in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, features)


# --- portable -----------------------------------------------------------------------------------


def by_pickle(transformer, path):
    return pickle.loads(pickle.dumps(transformer))


def by_memory_map(transformer, path):
    joblib.dump(transformer, path / "transformer.joblib")
    return joblib.load(path / "transformer.joblib", mmap_mode="r")


def by_deepcopy(transformer, path):
    return copy.deepcopy(transformer)


@PROBLEMS
@pytest.mark.parametrize("trip", [by_pickle, by_memory_map, by_deepcopy])
def test_round_trip(problem, method, kind, trip, tmp_path):
    transformer, X = problem(method, kind)
    features = transformer.fit_transform(X)
    other = trip(transformer, tmp_path)
    np.testing.assert_array_equal(other.transform(X), features)
    np.testing.assert_array_equal(other.fit_transform(X), features)


@METHODS
def test_pickle_holds_the_encoder_and_nothing_more(quick, method, global_random_seed):
    """No head, momentum network, queue, optimiser or rows: 1 % beyond the encoder's numbers."""
    X = np.random.default_rng(global_random_seed).normal(size=(5000, 20))
    transformer = quick(
        method, max_epochs=1, batch_size=1000, encoder_params={"hidden": (600, 600)}
    ).fit(X)
    encoder = sum(4 * p.numel() for p in transformer.encoder_.parameters())
    assert encoder < len(pickle.dumps(transformer)) < 1.01 * encoder + 15_000


@METHODS
def test_pickle_of_a_gpu_is_read_on_a_cpu(quick, blobs, method, monkeypatch):
    """All tensors of the net are mapped when read; device "meta" plays the CPU's part."""
    pickled = pickle.dumps(quick(method).fit(blobs[0]))
    monkeypatch.setattr("skorch.net.get_map_location", lambda device: torch.device("meta"))
    with pytest.warns(UserWarning, match=r"requested device \(cpu\) is not available"):
        transformer = pickle.loads(pickled)
    assert {p.device.type for p in transformer.encoder_.parameters()} == {"meta"}


@METHODS
def test_clone_of_a_fitted_transformer_is_unfitted(quick, blobs, method):
    transformer = quick(method).fit(blobs[0])
    other = clone(transformer)
    assert other.get_params() == transformer.get_params()
    assert not hasattr(other, "encoder_")
    assert not any(name.endswith("_") for name in vars(other))


# --- inputs -------------------------------------------------------------------------------------

COLUMNS = list("abcdef")


@METHODS
@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        lambda X: X.tolist(),
        lambda X: pd.DataFrame(X, columns=COLUMNS),
        lambda X: pl.DataFrame(X, schema=COLUMNS),
        torch.from_numpy,
    ],
    ids=["Fortran order", "list", "pandas", "polars", "torch"],
)
def test_form_of_a_table_makes_no_difference(quick, blobs, method, convert):
    X = blobs[0]
    transformer = quick(method)
    features = transformer.fit_transform(convert(X))
    np.testing.assert_array_equal(features, clone(transformer).fit_transform(X))
    if hasattr(convert(X), "columns"):
        assert transformer.feature_names_in_.tolist() == COLUMNS


@METHODS
def test_sparse_gives_the_features_of_the_dense_table(quick, blobs, method):
    X = np.where(blobs[0] > 0.5, blobs[0], 0)
    transformer = quick(method, standardize=False)
    dense = clone(transformer).fit_transform(X)
    for make in (sp.csr_matrix, sp.csc_array):
        np.testing.assert_array_equal(transformer.fit_transform(make(X)), dense)
    np.testing.assert_array_equal(transformer.transform(X), dense)


@PROBLEMS
def test_memory_map_gives_the_features_of_the_array(problem, method, kind, tmp_path, recwarn):
    transformer, X = problem(method, kind)
    np.save(tmp_path / "X.npy", X)
    on_disk = np.load(tmp_path / "X.npy", mmap_mode="r")
    features = clone(transformer).fit_transform(on_disk)
    np.testing.assert_array_equal(features, transformer.fit_transform(X))
    assert not recwarn.list


@pytest.mark.parametrize("method", [SimCLR, MoCo])
def test_channels_first_or_last_is_the_same(problem, method):
    transformer, X = problem(method, "images")
    features = clone(transformer).fit_transform(np.moveaxis(X, 3, 1))
    np.testing.assert_array_equal(features, transformer.fit_transform(X))
    assert (transformer.n_features_in_, transformer.image_shape_) == (192, (8, 8, 3))


@METHODS
def test_features_have_names_and_take_the_asked_container(quick, blobs, method):
    X = blobs[0]
    transformer = quick(method).fit(X)
    names = transformer.get_feature_names_out().tolist()
    assert names == [f"{method.__name__.lower()}{i}" for i in range(8)]
    frame = transformer.set_output(transform="pandas").transform(X)
    assert frame.columns.tolist() == names
    assert (frame.dtypes == np.float32).all()
    transformer.set_output(transform="default")
    np.testing.assert_array_equal(frame.to_numpy(), transformer.transform(X))


# --- features -----------------------------------------------------------------------------------


@PROBLEMS
def test_features_are_the_encoders_output_of_scaled_rows(problem, method, kind):
    transformer, X = problem(method, kind)
    features = transformer.fit_transform(X)
    axis = (0, 1, 2) if kind == "images" else 0
    scaled = torch.from_numpy((X - X.mean(axis)) / X.std(axis)).float()
    if kind == "images":
        scaled = scaled.permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = transformer.encoder_(scaled).numpy()
    assert features.dtype == np.float32
    assert features.shape == (len(X), 64 if kind == "images" else 8)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert transformer.net_.module_ is transformer.encoder_
    assert not transformer.encoder_.training


@METHODS
def test_rows_are_transformed_one_by_one_as_together(quick, method, global_random_seed):
    """More rows than one pass takes."""
    X = np.random.default_rng(global_random_seed).normal(size=(300, 6))
    transformer = quick(method, max_epochs=1).fit(X)
    together, rows = transformer.transform(X), [0, 127, 128, 299]
    one_by_one = np.vstack([transformer.transform(X[[i]]) for i in rows])
    np.testing.assert_allclose(together[rows], one_by_one, atol=1e-6)


@METHODS
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_features_that_are_not_finite_are_refused(quick, blobs, method):
    transformer = quick(method).fit(blobs[0])
    X = blobs[0].copy()
    X[100, 2] = 1e300
    with pytest.raises(ValueError, match=r"features of row 100 of X are not finite.*too large"):
        transformer.transform(X)


@PROBLEMS
def test_training_lowers_the_loss(problem, method, kind):
    """MoCo's rises while the queue fills with keys in place of random directions."""
    transformer, X = problem(method, kind, max_epochs=20)
    if method is MoCo:
        transformer.set_params(queue_size=32)
    losses = transformer.fit(X).history_[:, "train_loss"]
    assert transformer.n_iter_ == len(losses) == 20
    assert np.mean(losses[-3:]) < np.mean(losses[3:6])
    rates = transformer.history_[:, "event_lr"]
    assert rates[0] == 1e-3
    assert 2e-5 < rates[-1] < 5e-5


def test_a_pipeline_is_cross_validated(quick, blobs):
    X, y = blobs
    """The rows of the test folds have no part in the training."""
    model = make_pipeline(StandardScaler(), quick(SCARF), LogisticRegression())
    folds = list(KFold(3).split(X))
    expected = []
    for train, test in folds:
        scaler = StandardScaler().fit(X[train])
        rows, held_out = scaler.transform(X[train]), scaler.transform(X[test])
        encoder = quick(SCARF).fit(rows)
        classifier = LogisticRegression().fit(encoder.transform(rows), y[train])
        expected.append(classifier.score(encoder.transform(held_out), y[test]))
    np.testing.assert_array_equal(cross_val_score(model, X, y, cv=folds), expected)
    assert np.mean(expected) > 0.5  # 1/3 by chance


# --- encoders -----------------------------------------------------------------------------------


class Features(nn.Sequential):
    """Takes its arguments by the names that are filled in."""

    def __init__(self, n_features, width=5):
        super().__init__(nn.Linear(n_features, width), nn.ReLU())


@METHODS
def test_an_encoder_is_a_class_a_factory_or_an_instance(quick, blobs, method):
    X = blobs[0]
    made = quick(method, encoder=Features, encoder_params={"width": 7}).fit(X)
    assert made.transform(X).shape == (121, 7)
    by_factory = quick(method, encoder=lambda n_features: Features(n_features, 7))
    by_factory.set_params(encoder_params=None, standardize=False)
    np.testing.assert_array_equal(by_factory.fit_transform(X), made.transform(X))
    instance = quick(method, encoder=Features(6, 4), encoder_params=None).fit(X)
    assert instance.transform(X).shape == (121, 4)
    assert instance.encoder_ is not instance.encoder


def test_last_layer_of_a_classifier_is_taken_away(problem):
    params = {"encoder_params": {"depth": "small", "n_classes": 10}}
    transformer, X = problem(SimCLR, "images", encoder=PreActResNet, **params)
    assert transformer.fit_transform(X).shape == (40, 64)
    assert isinstance(transformer.encoder_.fc, nn.Identity)
    network = PreActResNet(3, 10, depth="small")
    transformer, _ = problem(SimCLR, "images", encoder=network)
    assert transformer.fit_transform(X).shape == (40, 64)
    assert network.fc.out_features == 10


@pytest.mark.gpu
@PROBLEMS
def test_gpu_is_the_same_code_path(problem, method, kind):
    transformer, X = problem(method, kind)
    transformer.fit(X)
    assert {p.device.type for p in transformer.encoder_.parameters()} == {"cuda"}
    features = transformer.transform(X)
    assert type(features) is np.ndarray
    np.testing.assert_allclose(by_pickle(transformer, None).transform(X), features, atol=1e-5)
    on_cpu = clone(transformer).set_params(device="cpu").fit(X)
    assert features.shape == on_cpu.transform(X).shape
