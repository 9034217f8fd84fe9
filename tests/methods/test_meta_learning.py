"""Classifiers of the meta-learning family: parameters, attributes, extreme input."""

import copy
import functools
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from small_family import FAMILY, noisy_blobs, small
from torch import nn

from sknoisy import CLIDMUClassifier
from sknoisy.exceptions import MixtureWarning
from sknoisy.meta import ForwardGradient, LayerSampledGradient
from sknoisy.networks import MLP

METHODS = pytest.mark.parametrize("method", FAMILY)
X, Y, TRUSTED = noisy_blobs()
# With so few rows, the loss mixture may not separate them.
LENIENT = pytest.mark.filterwarnings("ignore::sknoisy.exceptions.MixtureWarning")


def fit(method, clean_mask=TRUSTED, y=Y, sample_weight=None, **parameters):
    clf = small(method, **parameters)
    return clf.fit(X, y, clean_mask=clean_mask, sample_weight=sample_weight)


def proba(method, *args, **parameters):
    return fit(method, *args, **parameters).predict_proba(X)


def meta_update(clf):
    return dict(clf.net_.callbacks_)["meta"]


# Parameters

OF_ALL = {
    "meta_batch_size": 5,
    "n_warmup_epochs": 2,
    "gradient": LayerSampledGradient(n_active=0, match_weight=0.0, sampler_lr=0.0),
    "module": nn.Linear(6, 3),
    "module_params": {"hidden": (9,)},
    "optimizer": "adam",
    "optimizer_params": {"momentum": 0.1},
    "lr": 0.2,
    "lr_schedule": "constant",
    "max_epochs": 4,
    "batch_size": 20,
    "augment": lambda rows, generator: rows + 0.5,
    "standardize": False,
    "random_state": 1,
}
OF_ONE = {
    "MW-Net": {"loss": "ldam", "class_weight": "balanced", "meta_lr": 0.5},
    "MLC": {"skip": False, "meta_lr": 0.5, "trusted_weight": 1.0},
    "MSLC": {"targets": "soft", "meta_lr": 0.5},
    "TransitionMLC": {"meta_lr": 0.5, "trusted_weight": 1.0},
    "FaMUS": {"loss": "ldam", "class_weight": "balanced", "meta_lr": 0.5},
}


@pytest.mark.parametrize(
    ("method", "parameter", "value"),
    [(m, *item) for m in FAMILY for item in {**OF_ALL, **OF_ONE.get(m, {})}.items()],
)
def test_parameter_changes_the_model(method, parameter, value):
    changed = proba_of_unequal_classes(small(method, **{parameter: value}))
    assert not np.array_equal(changed, proba_by_default(method))


def proba_of_unequal_classes(clf):
    keep = Y != 2
    keep[::7] = True
    return clf.fit(X[keep], Y[keep], clean_mask=TRUSTED[keep]).predict_proba(X)


@functools.cache
def proba_by_default(method):
    return proba_of_unequal_classes(small(method))


@METHODS
def test_strategies_by_name(method):
    """Forward and reverse give the same gradient; "famus" is LayerSampledGradient()."""
    forward = proba(method, gradient="forward")
    assert_allclose(proba(method, gradient="reverse"), forward, atol=1e-4)
    assert_array_equal(proba(method, gradient=ForwardGradient()), forward)
    if method != "FaMUS":
        assert_array_equal(
            proba(method, gradient="famus"), proba(method, gradient=LayerSampledGradient())
        )


@METHODS
def test_values_of_auto(method):
    clf = fit(method, n_warmup_epochs="auto", max_epochs=6)
    assert clf.n_warmup_epochs_ == 3
    assert fit(method, n_warmup_epochs="auto", max_epochs=12).n_warmup_epochs_ == 5
    assert ["meta_loss" in epoch for epoch in clf.history_] == [False] * 3 + [True] * 3
    if method == "L2R":
        assert not hasattr(clf, "meta_lr_")
    else:
        assert_array_equal(
            clf.predict_proba(X),
            proba(method, n_warmup_epochs=3, max_epochs=6, meta_lr=clf.meta_lr_),
        )


def test_rates_and_decay_by_default():
    rates = {m: fit(m).meta_lr_ for m in FAMILY if m != "L2R"}
    assert rates == {m: 10.0 if m == "TransitionMLC" else 1e-3 for m in rates}
    decays = {m: fit(m).net_.optimizer_.param_groups[0]["weight_decay"] for m in FAMILY}
    assert decays == {m: 5e-3 if m == "L2R" else 5e-4 for m in FAMILY}


@pytest.mark.parametrize("method", ["MW-Net", "FaMUS"])
@pytest.mark.parametrize("class_weight", ["balanced", {"a": 0.5, "c": 7}])
def test_class_weights_multiply_the_users_weights(method, class_weight):
    keep = (Y != 1) | (np.arange(len(Y)) < 30)
    rows, y, trusted = X[keep], np.array(["a", "b", "c"])[Y[keep]], TRUSTED[keep]
    of_class = {"a": 0.5, "b": 1, "c": 7}
    if class_weight == "balanced":
        of_class = {c: 1 / np.mean(y == c) for c in "abc"}
    weights = np.array([of_class[c] for c in y])
    user = np.random.default_rng(0).random(len(y))
    for own in (np.ones(len(y)), user):
        found = small(method, class_weight=class_weight)
        found.fit(rows, y, clean_mask=trusted, sample_weight=own)
        expected = small(method).fit(rows, y, clean_mask=trusted, sample_weight=weights * own)
        assert_allclose(found.predict_proba(X), expected.predict_proba(X), atol=1e-6)


@METHODS
def test_strategy_of_the_user_is_left_alone(method):
    strategy = LayerSampledGradient(n_active=2)
    clf = fit(method, gradient=strategy)
    assert clf.gradient is strategy
    assert strategy.layer_names == ()
    assert len(strategy.samplers) == 0
    used = [dict(net.callbacks_)["meta"].gradient_ for net in getattr(clf, "nets_", [clf.net_])]
    assert [g.n_active for g in used] == [2] * len(used)
    assert [len(g.samplers) for g in used] == [2] * len(used)
    assert len({id(p) for g in used for p in g.samplers.parameters()}) == 5 * len(used)
    assert_array_equal(clf.predict_proba(X), clf.fit(X, Y, clean_mask=TRUSTED).predict_proba(X))


@METHODS
@LENIENT
def test_usage_of_the_layers_is_kept(method):
    names = tuple(n for n, _ in MLP(6, 3, hidden=(8,)).named_parameters())
    clf = fit(method, gradient=LayerSampledGradient(n_active=2), max_epochs=5)
    assert clf.layer_names_ == names
    assert clf.layer_usage_.shape == (4, 4)  # epochs without the warm-up, layers
    assert (clf.layer_usage_[:, 2:] == 1).all()
    n_open = clf.layer_usage_[:, :2] * 4  # of four batches
    assert_array_equal(n_open, n_open.round())
    assert 0 < n_open.sum() < 4 * 4 * 2
    assert not hasattr(clf.set_params(gradient="forward").fit(X, Y), "layer_usage_")


# Fitted attributes


@METHODS
@LENIENT
@pytest.mark.parametrize("clean_mask", [None, TRUSTED], ids=["no trusted rows", "trusted"])
def test_attributes(method, clean_mask):
    clf = fit(method, clean_mask)
    n = len(Y)
    assert clf.n_skipped_batches_ == 0
    assert clf.sample_weight_.shape == clf.clean_proba_.shape == (n,)
    assert clf.sample_weight_.min() >= 0
    assert clf.sample_weight_.max() <= 1
    expected = clf.predict_proba(X)[np.arange(n), Y]
    if clean_mask is None:
        assert_array_equal(np.unique(Y[clf.meta_rows_]), clf.classes_)
        assert clf.history_[-1, "n_pseudo_clean"] < n
        assert all("n_pseudo_clean" in epoch for epoch in clf.history_)
    else:
        assert_array_equal(clf.meta_rows_, clean_mask.nonzero()[0])
        expected[clean_mask] = 1
    assert_array_equal(clf.clean_proba_, expected)
    assert hasattr(clf, "transition_") == (method == "TransitionMLC")
    assert not hasattr(clf, "layer_usage_") or method == "FaMUS"
    expected = clf.predict(X) if clean_mask is None else np.where(clean_mask, Y, clf.predict(X))
    assert_array_equal(clf.purified_labels_, expected)


@METHODS
@LENIENT
def test_training_that_ends_in_the_warm_up_is_plain(method):
    clf = fit(method, n_warmup_epochs=3)
    for name in ("sample_weight_", "meta_rows_", "transition_"):
        assert not hasattr(clf, name)
    if method not in {"L2R", "FaMUS"}:
        plain = CLIDMUClassifier(weighting=None, n_ensemble=0, max_epochs=3, batch_size=32)
        plain.set_params(random_state=0, module_params={"hidden": (8,)})
        weights = np.where(TRUSTED & (method in {"MLC", "TransitionMLC"}), 8.0, 1.0)
        plain.fit(X, Y, sample_weight=weights)
        assert_array_equal(clf.predict_proba(X), plain.predict_proba(X))
    assert hasattr(clf.set_params(n_warmup_epochs=1).fit(X, Y, clean_mask=TRUSTED), "meta_rows_")
    assert not hasattr(clf.set_params(n_warmup_epochs=3).fit(X, Y), "meta_rows_")


@METHODS
@LENIENT
def test_labels_of_any_type(method):
    names = np.array(["b", "a", "c"], dtype=object)
    for clean_mask in (TRUSTED, None):
        by_name, by_number = (
            fit(method, clean_mask, names[Y]),
            fit(method, clean_mask, np.array([1, 0, 2])[Y]),
        )
        assert_array_equal(by_name.predict_proba(X), by_number.predict_proba(X))
        assert by_name.predict(X).dtype == object
        expected = np.array(["a", "b", "c"])[by_number.purified_labels_]
        assert_array_equal(by_name.purified_labels_, expected)
        assert by_name.purified_labels_.dtype == object


@METHODS
@LENIENT
@pytest.mark.parametrize("clean_mask", [None, TRUSTED], ids=["no trusted rows", "trusted"])
def test_same_seed_gives_the_same_model_and_round_trips_keep_it(method, clean_mask):
    params = {"gradient": LayerSampledGradient(n_active=2), "max_epochs": 2}
    params["module_params"] = {"hidden": (8,), "dropout": 0.3}
    first = fit(method, clean_mask, **params)
    torch.rand(3)
    others = [fit(method, clean_mask, **params), pickle.loads(pickle.dumps(first))]
    for other in (*others, copy.deepcopy(first)):
        for name in ("clean_proba_", "sample_weight_", "layer_usage_", "meta_rows_"):
            assert_array_equal(getattr(other, name), getattr(first, name))
        assert_array_equal(other.predict_proba(X), first.predict_proba(X))
        assert_array_equal(other.features(X), first.features(X))
    refitted = others[1].fit(X, Y, clean_mask=clean_mask)
    assert_array_equal(refitted.predict_proba(X), first.predict_proba(X))


def test_fits_in_threads_take_turns():
    """Torch has one random state per process, and each fit must use it alone."""
    params = {"module_params": {"hidden": (8,), "dropout": 0.3}}
    expected = [proba(method, **params) for method in FAMILY]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda method: proba(method, **params), FAMILY))
    assert_array_equal(found, expected)


# The user's weights


@METHODS
@LENIENT
@pytest.mark.parametrize("clean_mask", [None, TRUSTED], ids=["no trusted rows", "trusted"])
def test_equal_weights_change_nothing_and_rows_of_weight_0_are_ignored(method, clean_mask):
    reference = fit(method, clean_mask)
    ones = fit(method, clean_mask, sample_weight=np.ones(len(Y)))
    assert_array_equal(ones.predict_proba(X), reference.predict_proba(X))
    assert_array_equal(ones.sample_weight_, reference.sample_weight_)
    weights = np.where(~TRUSTED & (np.arange(len(Y)) % 5 == 0), 0.0, 2.0)
    poisoned = X.copy()
    poisoned[weights == 0] += 5
    settings = {"standardize": False}  # otherwise the means of the columns would change
    clean = fit(method, clean_mask, sample_weight=weights, **settings)
    other = small(method, **settings).fit(
        poisoned, Y, clean_mask=clean_mask, sample_weight=weights
    )
    assert_array_equal(other.predict_proba(X), clean.predict_proba(X))
    unweighted = small(method, **settings).fit(poisoned, Y, clean_mask=clean_mask)
    assert not np.array_equal(unweighted.predict_proba(X), clean.predict_proba(X))


@METHODS
def test_batches_without_weight_are_skipped_and_counted(method):
    """One row has weight, so all batches of an epoch but one are skipped."""
    weights = np.zeros(len(Y))
    weights[TRUSTED.nonzero()[0][:1]] = 1
    clf = fit(method, sample_weight=weights, batch_size=24, max_epochs=3)
    n_nets = 2 if method == "FaMUS" else 1
    n_batches = 3 * 5 * n_nets
    # L2R may give the one row no weight.
    assert clf.n_skipped_batches_ >= n_batches - 3 * n_nets
    assert clf.n_skipped_batches_ < n_batches
    if method != "L2R":
        assert clf.n_skipped_batches_ == n_batches - 3 * n_nets


# Extreme input


@METHODS
def test_trusted_rows_of_one_class_are_refused(method):
    with pytest.raises(ValueError, match=r"no trusted row of class \[1, 2\]: trust at least one"):
        fit(method, Y == 0)


@METHODS
def test_few_rows_without_trust_fall_back_with_a_warning(method):
    rows = np.concatenate([np.flatnonzero(c == Y)[:3] for c in range(3)])
    with pytest.warns(MixtureWarning):
        clf = small(method).fit(X[rows], Y[rows])
    assert_array_equal(np.unique(Y[rows][clf.meta_rows_]), [0, 1, 2])
    assert clf.predict(X).shape == Y.shape


@METHODS
def test_a_module_of_one_layer(method):
    for gradient in ("forward", "famus"):
        clf = fit(method, gradient=gradient, module=nn.Linear(6, 3), max_epochs=10)
        assert clf.score(X, Y) > 0.5
    assert clf.layer_names_ == ("weight", "bias")
    assert (clf.layer_usage_ == 1).all()


@METHODS
def test_more_active_layers_than_there_are_are_refused(method):
    with pytest.raises(ValueError, match="n_active=5 layers cannot be on: 2 have a gate"):
        fit(method, gradient=LayerSampledGradient(n_active=5))


@METHODS
@LENIENT
def test_images(method, images):
    X, y = images
    clf = small(method, module_params=None, max_epochs=2, gradient="famus").fit(X, y)
    assert clf.layer_usage_.shape == (1, 15)
    assert clf.predict(X).shape == (40,)


@LENIENT
def test_the_meta_set_is_printed_if_verbose(capfd):
    for verbose in (0, 1):
        fit("MLC", None, verbose=verbose)
        is_printed = "meta set: rows of small loss" in "".join(capfd.readouterr())
        assert is_printed == (verbose == 1)


CORRECTORS = pytest.mark.parametrize("method", ["MLC", "TransitionMLC"])


@CORRECTORS
def test_trusted_weight_is_the_sample_weight_of_trusted_rows(method):
    weighted = fit(method, trusted_weight=5.0)
    weights = np.where(TRUSTED, 5.0, 1.0)
    plain = small(method, trusted_weight=1.0)
    plain.fit(X, Y, clean_mask=TRUSTED, sample_weight=weights)
    assert_array_equal(weighted.predict_proba(X), plain.predict_proba(X))
    half = small(method, trusted_weight=2.5)
    half.fit(X, Y, clean_mask=TRUSTED, sample_weight=np.where(TRUSTED, 2.0, 1.0))
    assert_allclose(half.predict_proba(X), plain.predict_proba(X), rtol=1e-5)


@CORRECTORS
def test_trusted_weight_by_default(method):
    assert_array_equal(proba(method), proba(method, trusted_weight=8.0))
    images, mask = np.random.default_rng(0).normal(size=(40, 8, 8, 1)), np.arange(40) % 4 == 0
    settings = {"max_epochs": 2, "module_params": {"depth": "small"}}
    by_default, even, heavy = (
        small(method, **settings, **weight).fit(images, Y[:40], clean_mask=mask)
        for weight in ({}, {"trusted_weight": 1.0}, {"trusted_weight": 8.0})
    )
    assert_array_equal(by_default.predict_proba(images), even.predict_proba(images))
    assert not np.array_equal(heavy.predict_proba(images), even.predict_proba(images))


@LENIENT
@CORRECTORS
def test_rows_of_small_loss_keep_their_label(method):
    clf = small(method).fit(X, Y)
    assert len(clf.meta_rows_) < len(X)
    kept = np.zeros(len(X), bool)
    kept[clf.meta_rows_] = True
    assert_array_equal(clf.sample_weight_ == 1, kept)


# Classes of the meta set


@LENIENT
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("method", [*FAMILY, "CLID-MU"])
def test_every_class_keeps_its_share_of_the_pseudo_clean_rows(method, seed):
    """Class 2 is rare, so that its labels have high losses."""
    rows, y, _ = noisy_blobs(600, seed=seed)
    keep = (y != 2) | (np.cumsum(y == 2) % 10 == 0)
    rows, y = rows[keep], y[keep]
    settings = {"max_epochs": 4, "n_warmup_epochs": 3, "module_params": {"hidden": (8,)}}
    if method == "CLID-MU":
        clf = CLIDMUClassifier(meta_objective="cross_entropy", random_state=0, **settings)
    else:
        clf = small(method, **settings)
    clf.fit(rows, y)
    chosen = np.bincount(y[meta_update(clf).meta_rows_], minlength=3)
    shares = chosen / np.bincount(y)
    share = chosen.sum() / len(y)
    assert (np.abs(shares - share) <= 1 / np.bincount(y)).all()  # rounded to one row
