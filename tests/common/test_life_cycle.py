"""A fitted estimator is reproducible, portable and consistent with itself."""

import copy
import io
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from estimators import (
    assert_same,
    fit,
    has,
    is_mixture,
    outputs,
    over_estimators,
    reference,
    rows_for,
    takes,
)
from joblib import Parallel, delayed
from sklearn.base import clone, is_classifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from skorch.callbacks import EpochScoring
from torch import nn

pytestmark = pytest.mark.usefixtures("small_forests")


def is_stochastic(estimator):
    """Whether another start gives another result; mixtures find the same optimum from any."""
    return hasattr(estimator, "random_state") and not is_mixture(estimator)


KINDS = pytest.mark.parametrize("kind", ["table", "images"])


# --- reproducible -------------------------------------------------------------------------------


@over_estimators("same_random_state_gives_the_same_model", images=True)
def test_same_random_state_gives_the_same_model(estimator, kind, data):
    X, y = data(estimator, kind)
    first = reference(estimator, X, y)
    torch.rand(7)  # global generators have no say
    np.random.rand(7)  # noqa: NPY002
    assert_same(first, X, fit(estimator, X, y), X)


@over_estimators("a_second_fit_forgets_the_first", images=True)
def test_a_second_fit_forgets_the_first(estimator, kind, data):
    """Rows, columns, names and classes; and it takes the options of the first no further."""
    X, y = data(estimator, kind)
    names = [f"x{i}" for i in range(X.shape[1])]
    other = X if kind == "images" else pd.DataFrame(X, columns=names)
    if X.shape[1] > 1 and kind == "table":
        other = other[names[1:]]
    masks = {"clean_mask": np.arange(len(y)) % 3 == 0} if takes("clean_mask")(estimator) else {}
    refitted = fit(estimator, other[::-1], y % 2, **masks).fit(X, y)
    expected = reference(estimator, X, y)
    assert_same(expected, X, refitted, X)
    assert vars(refitted).keys() == vars(expected).keys()


@over_estimators("other_random_state_gives_another_model", is_stochastic, images=True)
def test_other_random_state_gives_another_model(estimator, kind, data, global_random_seed):
    X, y = data(estimator, kind)
    first, second = (
        outputs(clone(estimator).set_params(random_state=global_random_seed + i).fit(X, y), X)
        for i in (0, 1)
    )
    differences = [
        np.abs(first[name] - second[name]).max()
        for name in first
        if first[name].dtype.kind == "f" and first[name].shape == second[name].shape
    ]
    assert max(differences) > 1e-3


@over_estimators("random_state_instance_moves_on", is_stochastic)
def test_random_state_instance_moves_on(estimator, data):
    X, y = data(estimator)
    expected = clone(estimator).set_params(random_state=np.random.RandomState(5)).fit(X, y)
    moving = clone(estimator).set_params(random_state=np.random.RandomState(5)).fit(X, y)
    assert_same(expected, X, moving, X)
    with pytest.raises(AssertionError):
        assert_same(expected, X, moving.fit(X, y), X)


@over_estimators("without_random_state_each_fit_differs", is_stochastic)
def test_without_random_state_each_fit_differs(estimator, data):
    """Even where a user seeds numpy: `random_state` alone decides."""
    X, y = data(estimator)
    fitted = []
    for _ in range(2):
        np.random.seed(0)  # noqa: NPY002
        fitted.append(clone(estimator).set_params(random_state=None).fit(X, y))
    with pytest.raises(AssertionError):
        assert_same(fitted[0], X, fitted[1], X)


# --- portable -----------------------------------------------------------------------------------


def by_pickle(clf, path):
    return pickle.loads(pickle.dumps(clf))


def by_joblib(clf, path):
    joblib.dump(clf, path / "clf.joblib")
    return joblib.load(path / "clf.joblib")


def by_memory_map(clf, path):
    joblib.dump(clf, path / "clf.joblib")
    return joblib.load(path / "clf.joblib", mmap_mode="r")


def by_deepcopy(clf, path):
    return copy.deepcopy(clf)


@over_estimators("round_trip", images=True)
def test_round_trip(estimator, kind, data, tmp_path):
    X, y = data(estimator, kind)
    fitted = reference(estimator, X, y)
    for trip in (by_pickle, by_joblib, by_memory_map, by_deepcopy):
        other = trip(fitted, tmp_path)
        assert_same(fitted, X, other, X)
        assert_same(fitted, X, other.fit(X, y), X)


def largest_logit(net, X, y):
    assert len(y) == 121
    return float(net.predict(X).max())


def test_pickle_with_module_and_callbacks_of_the_user(quick, blobs):
    X, y = blobs
    module = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    callbacks = [EpochScoring(largest_logit, name="largest", on_train=True)]
    clf = quick(module=module, callbacks=callbacks, random_state=np.random.RandomState(0))
    clf.fit(X, y)
    assert len(set(clf.history_[:, "largest"])) == 4  # recorded, and another after each epoch
    np.testing.assert_array_equal(by_pickle(clf, None).predict_proba(X), clf.predict_proba(X))


def test_pickle_of_a_gpu_is_read_on_a_cpu(quick, blobs, monkeypatch):
    """All tensors of the net are mapped when read; device "meta" plays the CPU's part."""
    pickled = pickle.dumps(quick().fit(*blobs))
    monkeypatch.setattr("skorch.net.get_map_location", lambda device: torch.device("meta"))
    with pytest.warns(UserWarning, match=r"requested device \(cpu\) is not available"):
        net = pickle.loads(pickled).net_
    callbacks = dict(net.callbacks_)
    scheduler = callbacks["lr_schedule"].lr_scheduler_
    tensors = [
        *net.module_.state_dict().values(),
        *callbacks["meta"].meta_model_.state_dict().values(),
        *scheduler.optimizer.param_groups[0]["params"],
    ]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert net.module is type(net.module_)  # an instance would stay on the GPU
    assert scheduler.optimizer is net.optimizer_


def fit_on_wide_rows(estimator, n, seed):
    """Return an estimator fitted on n rows of 50 columns, a quarter trusted, and the rows."""
    X = rows_for(estimator, np.random.default_rng(seed).normal(size=(n, 50)))
    y = (X[:, 0] > np.median(X[:, 0])).astype(int)
    masks = {"clean_mask": np.arange(n) % 4 == 0} if takes("clean_mask")(estimator) else {}
    return fit(estimator, X, y, **masks), X


@over_estimators("pickle_holds_no_training_data")
def test_pickle_holds_no_training_data(estimator, global_random_seed):
    fitted, X = fit_on_wide_rows(estimator, 120, global_random_seed)
    pickled = pickle.dumps(fitted)
    for dtype in (np.float64, np.float32):
        rows = X.astype(dtype)
        assert not any(values[:4].tobytes() in pickled for values in (*rows, *rows.T))


@over_estimators("pickle_grows_by_a_few_numbers_a_row")
def test_pickle_grows_by_a_few_numbers_a_row(estimator, global_random_seed):
    """By 8 bytes a row for each array of numbers and for each of the two classes, not X's 400.

    CLID-MU has clean_proba_, purified_labels_, sample_weight_ and label_distribution_; a framework
    around it adds the rows that it uses without their labels, or the divisions.
    """
    sizes = [
        len(pickle.dumps(fit_on_wide_rows(estimator, n, global_random_seed)[0]))
        for n in (120, 520)
    ]
    is_plain = type(estimator).__name__ == "CLIDMUClassifier" and estimator.semi is None
    per_row = 5 * 8 if is_plain else 120
    assert sizes[1] - sizes[0] < 400 * per_row + 2000


@over_estimators("clone_of_a_fitted_estimator_is_unfitted")
def test_clone_of_a_fitted_estimator_is_unfitted_and_equal_in_parameters(estimator, data):
    fitted = reference(estimator, *data(estimator))
    other = clone(fitted)
    nested = {name for name, value in fitted.get_params().items() if hasattr(value, "get_params")}
    expected, found = fitted.get_params(), other.get_params()
    assert expected.keys() == found.keys()
    assert all(found[name] == expected[name] for name in expected.keys() - nested)
    assert not any(name.endswith("_") for name in vars(other))


# --- consistent ---------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("weighting", ["wnet", "vri", None])
def test_fitted_attributes(problem, weighting, kind):
    clf, X, y = problem(kind, weighting=weighting)
    clf.fit(X, y)
    n_classes = len(np.unique(y))
    assert clf.classes_.tolist() == list(range(n_classes))
    assert clf.n_features_in_ == np.prod(X.shape[1:])
    assert clf.image_shape_ == (X.shape[1:] if kind == "images" else None)
    assert clf.n_iter_ == len(clf.history_) == clf.max_epochs
    keys = {"train_loss", "clid", "event_lr", "dur"} | ({"meta_loss"} if weighting else set())
    assert keys <= set(clf.history_[-1])  # the first epoch is the warm-up
    assert hasattr(clf, "sample_weight_") == bool(weighting)
    if weighting:
        assert clf.sample_weight_.shape == (len(X),)
        assert 0 <= clf.sample_weight_.min() < clf.sample_weight_.max() <= 1


@over_estimators("training_loss_falls", has("batch_size", "predict"))
def test_training_loss_falls(estimator, data):
    losses = reference(estimator, *data(estimator)).history_[:, "train_loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@over_estimators("predictions_are_consistent", has("predict_proba"), images=True)
def test_predictions_are_consistent(estimator, kind, data):
    X, y = data(estimator, kind)
    labels = np.array(["ant", "bee", "cat"])[y]
    fitted = fit(estimator, X, labels)
    proba, classes = fitted.predict_proba(X), getattr(fitted, "classes_", np.arange(2))
    assert proba.dtype == np.float64
    assert proba.shape == (len(X), len(classes))
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(fitted.predict(X), classes[proba.argmax(axis=1)])
    if is_classifier(fitted):
        assert fitted.score(X, labels) == np.mean(fitted.predict(X) == labels)


def test_clean_proba_is_the_probability_of_the_given_label(quick, blobs):
    X, y = blobs
    mask = np.arange(len(y)) % 4 == 0
    for clean_mask in (None, mask):
        clf = quick().fit(X, y, clean_mask=clean_mask)
        expected = clf.predict_proba(X)[np.arange(len(y)), y]
        if clean_mask is not None:
            expected[mask] = 1
        np.testing.assert_array_equal(clf.clean_proba_, expected)


def test_rows_are_predicted_one_by_one_as_together(quick, global_random_seed):
    """More rows than one pass takes; float32 sums may differ with the size of a batch."""
    X = np.random.default_rng(global_random_seed).normal(size=(2500, 6))
    clf = quick(max_epochs=1).fit(X, X[:, 0] > 0)
    together, rows = clf.predict_proba(X), [0, 1023, 1024, 2048, 2499]
    one_by_one = np.vstack([clf.predict_proba(X[[i]]) for i in rows])
    np.testing.assert_allclose(together[rows], one_by_one, atol=1e-6)
    np.testing.assert_allclose(clf.features(X)[rows], clf.features(X[rows]), atol=1e-5)


@pytest.mark.parametrize("n_ensemble", [0, 3])
def test_features_are_what_the_last_layer_reads(quick, blobs, n_ensemble):
    """Those of the last epoch without an ensemble, else of its best one."""
    X, y = blobs
    clf = quick(n_ensemble=n_ensemble).fit(X, y)
    state = clf.net_.module_.state_dict()
    if n_ensemble:
        (_, _, state), *_ = dict(clf.net_.callbacks_)["ensemble"].members_
    features = clf.features(X)
    assert features.shape == (len(X), 16)
    assert features.min() == 0  # after ReLU
    logits = features @ state["fc.weight"].double().numpy().T + state["fc.bias"].double().numpy()
    if n_ensemble == 0:
        proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(proba, clf.predict_proba(X), atol=1e-6)
    best = quick(n_ensemble=1).fit(X, y)
    if n_ensemble == 3:
        np.testing.assert_array_equal(best.features(X), features)
        np.testing.assert_array_equal(best.predict(X), logits.argmax(axis=1))


def test_features_of_a_module_without_timms_methods(quick, blobs):
    X, y = blobs
    module = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 3))
    clf = quick(module=module, n_ensemble=0).fit(X, y)
    with torch.no_grad():
        expected = clf.net_.module_[:2](torch.from_numpy(X).float())
    np.testing.assert_allclose(clf.features(X), expected, atol=1e-6)


def test_devices_without_float64_can_predict(quick, blobs, monkeypatch):
    """MPS has none: what is made float64 was moved to the CPU before."""
    X, y = blobs
    clf = quick().fit(X, y)
    expected = clf.predict_proba(X), clf.features(X)
    on_cpu = []
    cpu, double = torch.Tensor.cpu, torch.Tensor.double

    def move(tensor):
        on_cpu.append(cpu(tensor).clone())
        return on_cpu[-1]

    def convert(tensor):
        assert any(tensor is moved for moved in on_cpu)
        return double(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", move)
    monkeypatch.setattr(torch.Tensor, "double", convert)
    np.testing.assert_array_equal(clf.predict_proba(X), expected[0])
    np.testing.assert_array_equal(clf.features(X), expected[1])


# --- parallel -----------------------------------------------------------------------------------


def threads_after_fit(clf, X, y):
    clf.fit(X, y)
    return torch.get_num_threads()


def test_two_workers_score_as_one_and_share_the_cores(quick, blobs, monkeypatch):
    """Without a limit from outside, loky's workers take an even share of the cores each."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    X, y = blobs
    clf, folds = quick(), StratifiedKFold(2)
    with joblib.parallel_backend("loky"):
        threads = Parallel(n_jobs=2)(delayed(threads_after_fit)(clf, X, y) for _ in range(2))
        scores = [cross_val_score(clf, X, y, cv=folds, n_jobs=n_jobs) for n_jobs in (1, 2)]
    assert max(threads) <= max(joblib.cpu_count() // 2, 1)
    np.testing.assert_array_equal(*scores)


# --- GPU ----------------------------------------------------------------------------------------


@pytest.mark.gpu
@KINDS
@pytest.mark.parametrize("weighting", ["wnet", "vri", None])
def test_gpu_is_the_same_code_path(problem, weighting, kind):
    """Attributes and predictions are numpy arrays, and close to those of the CPU."""
    clf, X, y = problem(kind, weighting=weighting)
    on_gpu, on_cpu = (clone(clf).set_params(device=d).fit(X, y) for d in ("cuda", "cpu"))
    assert clone(clf).fit(X, y).net_.device.startswith("cuda")  # "auto"
    assert {p.device.type for p in on_gpu.net_.module_.parameters()} == {"cuda"}
    assert all(type(a) is np.ndarray for a in (on_gpu.clean_proba_, on_gpu.predict_proba(X)))
    assert abs(on_gpu.score(X, y) - on_cpu.score(X, y)) < 0.15  # other draws of the dropout
    np.testing.assert_allclose(
        by_pickle(on_gpu, None).predict_proba(X), on_gpu.predict_proba(X), atol=1e-6
    )


@pytest.mark.gpu
def test_gpu_pickle_is_read_where_there_is_no_gpu(quick, blobs, monkeypatch):
    X, y = blobs
    clf = quick(device="cuda").fit(X, y)
    buffer = io.BytesIO(pickle.dumps(clf))
    proba = clf.predict_proba(X)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="CUDA"):
        on_cpu = pickle.load(buffer)
    np.testing.assert_allclose(on_cpu.predict_proba(X), proba, atol=1e-5)
