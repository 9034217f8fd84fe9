"""MILDClassifier: selection of rows, and training on them and on the unlabelled others."""

import pickle
import re

import numpy as np
import pytest
import torch
from imblearn.over_sampling import SMOTE
from imblearn.under_sampling import RandomUnderSampler
from numpy.testing import assert_array_equal
from side_effects import global_state
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.utils._param_validation import InvalidParameterError
from small_selectors import CLEAN, GIVEN, NAMES, RIGHT, X, quick
from torch import nn

from sknoisy import CleanSampleSelector, CLIDMUClassifier, LabelPurifier, MILDClassifier
from sknoisy._engine.batches import TrainingData
from sknoisy._engine.net import DeviceNet
from sknoisy.datasets import load_noisy_digits
from sknoisy.methods.semi_supervised import ContrastiveMixUpNet, MixMatchNet

SEMI = ("none", "mixmatch", "mixup+contrastive")
EACH_SEMI = pytest.mark.parametrize("semi", SEMI)
SMALL = {"max_epochs": 3, "batch_size": 32, "module_params": {"hidden": (8,)}, "random_state": 0}
ROWS = np.flatnonzero(np.arange(len(X)) % 5 != 1)
REST = np.setdiff1d(np.arange(len(X)), ROWS)


class Keep(BaseEstimator):
    """Keeps given rows, and records its arguments."""

    def __init__(self, rows=ROWS, random_state=None):
        self.rows, self.random_state = rows, random_state

    def fit_resample(self, X, y, clean_mask=None):
        self.X_, self.y_, self.clean_mask_ = X, y, clean_mask
        self.sample_indices_ = np.asarray(self.rows, int)
        return X[self.sample_indices_], y[self.sample_indices_]


class Naive(BaseEstimator):
    """Takes no trusted rows, and has no sample_indices_."""

    def fit_resample(self, X, y):
        return X[10:], y[10:]


class NeverRun(BaseEstimator):
    """Fails."""

    def fit_resample(self, X, y):
        raise AssertionError("the selection ran")


def mild(**parameters):
    return MILDClassifier(**{**SMALL, "selector": Keep(), **parameters})


def unscaled(**parameters):
    """A network that sees the rows as they are."""
    return mild(module=make_network, module_params=None, standardize=False, **parameters)


def make_network(n_features, n_classes):
    return nn.Sequential(nn.Linear(n_features, 8), nn.ReLU(), nn.Linear(8, n_classes))


# --- the rows that are selected -----------------------------------------------------------------


def test_without_semi_it_is_plain_training_on_the_selected_rows():
    clf = unscaled(semi="none").fit(X, NAMES)
    plain = CLIDMUClassifier(weighting=None, n_ensemble=0, **SMALL)
    plain.set_params(module=make_network, module_params=None, standardize=False)
    plain.fit(X[ROWS], NAMES[ROWS])
    assert_array_equal(clf.predict_proba(X), plain.predict_proba(X))
    assert clf.history_[:, "train_loss"] == plain.history_[:, "train_loss"]


@EACH_SEMI
def test_labels_of_the_other_rows_are_not_read(semi):
    changed = NAMES.copy()
    changed[REST] = np.roll(NAMES[REST], 1)
    first, second = (mild(semi=semi).fit(X, y) for y in (NAMES, changed))
    assert np.mean(changed[REST] != NAMES[REST]) > 0.4
    assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    changed[ROWS] = np.roll(NAMES[ROWS], 1)
    assert (mild(semi=semi).fit(X, changed).predict_proba(X) != first.predict_proba(X)).any()


@EACH_SEMI
def test_the_other_rows_themselves_matter_with_semi_alone(semi):
    moved = X.copy()
    moved[REST] += 2
    first, second = (unscaled(semi=semi).fit(rows, NAMES).predict_proba(X) for rows in (X, moved))
    assert (first == second).all() == (semi == "none")


def test_attributes_hold_the_selected_rows():
    clf = mild().fit(X, NAMES)
    assert_array_equal(clf.sample_indices_, ROWS)
    assert_array_equal(clf.clean_mask_, np.isin(np.arange(len(X)), ROWS))
    expected = clf.predict_proba(X)[np.arange(len(X)), GIVEN]
    assert_array_equal(clf.clean_proba_, expected)
    assert clf.n_iter_ == len(clf.history_) == 3
    assert clf.classes_.tolist() == ["ape", "bee", "cat"]


def test_trusted_rows_are_selected_whatever_the_selector_keeps():
    trusted = np.isin(np.arange(len(X)), REST[:20])
    clf = mild().fit(X, NAMES, clean_mask=trusted)
    assert_array_equal(clf.sample_indices_, np.union1d(ROWS, REST[:20]))
    assert_array_equal(clf.selector_.clean_mask_, trusted)
    assert_array_equal(clf.clean_proba_[trusted], 1)
    undersampler = RandomUnderSampler(sampling_strategy=lambda y: dict.fromkeys(y, 5))
    clf = mild(selector=undersampler).fit(X, NAMES, clean_mask=trusted)  # takes no mask
    assert set(REST[:20]) <= set(clf.sample_indices_)
    assert 20 <= len(clf.sample_indices_) <= 35


@EACH_SEMI
def test_rows_of_weight_zero_have_no_part(semi):
    out = np.arange(len(X)) % 4 == 0
    weight, counted = np.where(out, 0.0, 1.0), np.flatnonzero(~out)
    trusted = np.isin(np.arange(len(X)), REST)
    kept = np.arange(0, len(counted), 2)
    other_X, other_y = np.where(out[:, None], X[::-1], X), np.where(out, NAMES[::-1], NAMES)
    params = {} if semi == "none" else {"semi_params": {"corruption_rate": 0.5}}
    clfs = [
        unscaled(semi=semi, selector=Keep(kept), **params).fit(
            rows, labels, clean_mask=trusted, sample_weight=weight
        )
        for rows, labels in ((X, NAMES), (other_X, other_y))
    ]
    first, second = clfs
    assert_array_equal(first.selector_.X_, X[counted])
    assert_array_equal(first.selector_.y_, NAMES[counted])
    assert_array_equal(first.selector_.clean_mask_, trusted[counted])
    assert not out[first.sample_indices_].any()
    expected = np.union1d(counted[kept], np.flatnonzero(trusted & ~out))
    assert_array_equal(first.sample_indices_, expected)
    if semi != "none":
        assert_array_equal(first.net_.unlabeled, np.setdiff1d(counted, expected))
    assert_array_equal(first.predict_proba(X), second.predict_proba(X))


def test_weights_count_in_training():
    weight = np.where(GIVEN == 0, 10.0, 1.0)
    even, heavy = (
        mild(semi="none").fit(X, GIVEN, sample_weight=w).predict_proba(X)[:, 0].mean()
        for w in (np.ones(len(X)), weight)
    )
    assert heavy > even + 0.1


# --- the selector -------------------------------------------------------------------------------


def test_the_default_selector_has_the_network_of_the_classifier():
    def augment(rows, generator):
        return rows

    own = {
        "module": make_network,
        "module_params": None,
        "optimizer": "adam",
        "optimizer_params": {"weight_decay": 0.1},
        "lr": 0.02,
        "lr_schedule": "constant",
        "batch_size": 50,
        "augment": augment,
        "standardize": True,
        "device": "cpu",
        "verbose": 0,
    }
    clf = mild(selector=None, semi="none", **own)
    fitted = clf.fit(X, GIVEN).selector_
    defaults = CleanSampleSelector().get_params()
    for name, value in fitted.get_params().items():
        if name != "random_state":  # drawn from that of the classifier
            assert value == own.get(name, defaults[name])
    assert isinstance(fitted, CleanSampleSelector)
    assert fitted.max_epochs == defaults["max_epochs"]
    assert (fitted.lr, fitted.batch_size, fitted.augment) == (0.02, 50, augment)
    assert type(fitted.net_.optimizer_) is torch.optim.Adam
    assert_array_equal(clf.sample_indices_, fitted.sample_indices_)


def test_the_selector_is_a_copy_that_follows_the_random_state():
    selector = quick(random_state=None)
    clfs = [mild(selector=selector, random_state=seed).fit(X, GIVEN) for seed in (0, 0, 1)]
    assert not hasattr(selector, "classes_")
    assert selector.random_state is None
    first, same, other = (clf.selector_.random_state for clf in clfs)
    assert first == same != other
    assert_array_equal(clfs[0].predict_proba(X), clfs[1].predict_proba(X))
    assert mild(selector=Keep(random_state=7)).fit(X, GIVEN).selector_.random_state == 7
    alone = quick(random_state=first).fit(X, GIVEN)
    assert_array_equal(clfs[0].sample_indices_, alone.sample_indices_)
    assert RIGHT[alone.sample_indices_].mean() > 0.9


def test_a_selector_without_sample_indices_is_refused():
    message = r"Naive returned 170 rows for 180 and has no sample_indices_.*CleanSampleSelector"
    with pytest.raises(ValueError, match=message):
        mild(selector=Naive()).fit(X, GIVEN)
    with pytest.raises(ValueError, match=r"SMOTE returned \d+ rows for 60 and has no"):
        mild(selector=SMOTE(k_neighbors=2)).fit(X[:60], GIVEN[:60])


def test_a_selector_that_changes_labels_is_refused():
    purifier = LabelPurifier(n_components=32, n_epochs=10, n_folds=0, device="cpu")
    message = r"LabelPurifier changed \d+ labels: .* to DMLPClassifier or PurifiedClassifier"
    with pytest.raises(ValueError, match=message):
        mild(selector=purifier).fit(X, NAMES)


def test_rows_in_another_order_are_sorted():
    clf = mild(selector=Keep(np.r_[ROWS[::-1], ROWS[:5]])).fit(X, NAMES)
    assert_array_equal(clf.sample_indices_, ROWS)
    assert_array_equal(clf.predict_proba(X), mild().fit(X, NAMES).predict_proba(X))


def test_a_selector_that_empties_a_class_is_named():
    rows = np.flatnonzero(GIVEN != 2)
    with pytest.warns(UserWarning, match=r"Keep left no row of the classes \['cat'\]"):
        mild(selector=Keep(rows)).fit(X, NAMES)
    for rows in ([], np.flatnonzero(GIVEN == 0)):
        message = rf"Keep left {len(rows)} rows, of the classes .* At least 2 classes"
        with pytest.raises(ValueError, match=message):
            mild(selector=Keep(rows)).fit(X, NAMES)


def test_an_object_that_cleans_nothing_is_refused():
    with pytest.raises(InvalidParameterError, match="'selector' parameter of MILDClassifier must"):
        mild(selector=nn.Linear(1, 1)).fit(X, GIVEN)


def test_a_memory_map_is_handed_on_as_it_is(tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    clf = mild().fit(mapped, NAMES)
    assert np.shares_memory(clf.selector_.X_, mapped)
    assert_array_equal(clf.predict_proba(X), mild().fit(X, NAMES).predict_proba(X))


# --- semi ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("semi", "net"),
    [("none", DeviceNet), ("mixmatch", MixMatchNet), ("mixup+contrastive", ContrastiveMixUpNet)],
)
def test_semi_decides_how_the_other_rows_are_used(semi, net):
    clf = mild(semi=semi).fit(X, GIVEN)
    assert type(clf.net_) is net
    for other in set(SEMI) - {semi}:
        assert (mild(semi=other).fit(X, GIVEN).predict_proba(X) != clf.predict_proba(X)).any()
    if semi != "none":
        assert_array_equal(clf.net_.unlabeled, REST)
    with pytest.raises(InvalidParameterError, match="'semi' parameter of MILDClassifier must be"):
        mild(semi=semi + "s").fit(X, GIVEN)


@pytest.mark.parametrize(("n_kept", "semi"), [(40, "mixmatch"), (63, "mixmatch"), (64, "none")])
def test_by_default_other_rows_are_used_if_they_are_many(n_kept, semi):
    """From 30 % of the rows that have any weight, here 90."""
    weight = np.where(np.arange(len(X)) < 90, 1.0, 0.0)
    settings = {"selector": Keep(np.arange(n_kept))}
    clf = mild(**settings).fit(X, GIVEN, sample_weight=weight)
    assert clf.semi == "auto"
    assert clf.semi_ == semi
    chosen = mild(**settings, semi=semi).fit(X, GIVEN, sample_weight=weight)
    assert chosen.semi_ == semi
    assert_array_equal(clf.predict_proba(X), chosen.predict_proba(X))


def test_semi_params_of_the_default_are_those_of_mixmatch():
    few, many = (
        mild(selector=Keep(np.arange(n)), semi_params={"alpha": 3.0}).fit(X, GIVEN)
        for n in (170, 90)
    )
    assert type(few.net_) is DeviceNet
    assert many.net_.alpha == 3.0
    with pytest.raises(ValueError, match="semi='auto' does not take"):
        mild(semi_params={"temperatures": 1}, selector=NeverRun()).fit(X, GIVEN)


@pytest.mark.parametrize("semi", SEMI[1:])
def test_semi_params_are_those_of_the_net(semi):
    params = {"alpha": 3.0}
    clf = mild(semi=semi, semi_params=params).fit(X, GIVEN)
    assert clf.net_.alpha == 3.0
    assert params == {"alpha": 3.0}
    assert (clf.predict_proba(X) != mild(semi=semi).fit(X, GIVEN).predict_proba(X)).any()


@pytest.mark.parametrize(
    ("semi", "name"),
    [
        ("none", "alpha"),
        ("mixmatch", "sharpness"),
        ("mixmatch", "unlabeled"),
        ("mixup+contrastive", "generator"),
        ("mixup+contrastive", "unlabeled_weight"),
    ],
)
def test_unknown_semi_params_are_refused_before_the_selection(semi, name):
    message = f"semi_params has ['{name}'], which semi='{semi}' does not take; it takes "
    with pytest.raises(ValueError, match=re.escape(message)):
        mild(semi=semi, semi_params={name: 1}, selector=NeverRun()).fit(X, GIVEN)


@EACH_SEMI
def test_if_all_rows_are_selected_none_is_without_label(semi):
    clf = mild(semi=semi, selector=Keep(np.arange(len(X))), max_epochs=8).fit(X, GIVEN)
    assert clf.clean_mask_.all()
    assert clf.score(X, CLEAN) > 0.6


# --- life cycle ---------------------------------------------------------------------------------


@EACH_SEMI
def test_two_fits_are_the_same_and_leave_no_trace(semi):
    before = global_state()
    clf = mild(semi=semi, selector=quick(), augment=None)
    clf.fit(X, NAMES)
    assert global_state() == before
    again = mild(semi=semi, selector=quick(), augment=None).fit(X, NAMES)
    assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    copied = pickle.loads(pickle.dumps(clf))
    assert_array_equal(copied.predict_proba(X), clf.predict_proba(X))
    assert not any(isinstance(value, TrainingData) for value in vars(clf.net_).values())


def test_a_second_fit_forgets_the_first():
    clf = mild().fit(X, NAMES)
    clf.set_params(selector=Keep(np.arange(40)), semi="none").fit(X[:50], NAMES[:50])
    fresh = mild(selector=Keep(np.arange(40)), semi="none").fit(X[:50], NAMES[:50])
    assert_array_equal(clf.predict_proba(X), fresh.predict_proba(X))
    assert vars(clf).keys() == vars(fresh).keys()
    assert len(clf.clean_mask_) == 50


def test_a_search_over_selector_and_semi():
    folds = KFold(2)
    clf = mild(selector=quick(), max_epochs=5)
    grid = {"semi": ["none", "mixmatch"], "selector__threshold": ["consistent", "released"]}
    search = GridSearchCV(clf, grid, cv=folds, error_score="raise").fit(X, GIVEN)
    scores = search.cv_results_["mean_test_score"]
    for parameters, score in zip(search.cv_results_["params"], scores, strict=True):
        alone = mild(selector=quick(), max_epochs=5).set_params(**parameters)
        assert score == cross_val_score(alone, X, GIVEN, cv=folds).mean()
    assert len(set(scores)) > 1
    assert search.best_estimator_.score(X, CLEAN) > 0.6


# --- what it is for -----------------------------------------------------------------------------


def test_it_withstands_noise_that_cross_entropy_learns():
    """Digits, 60 % symmetric noise: cross-entropy of the same network learns them."""
    digits = load_noisy_digits(rate=0.6, random_state=0)
    train, test = slice(900), slice(900, None)
    settings = {"max_epochs": 40, "device": "cpu", "random_state": 0}
    # The judgement would keep this selection, too, and take most of the time.
    selector = CleanSampleSelector(max_epochs=25, n_folds=0, device="cpu")
    clf = MILDClassifier(selector=selector, **settings)
    plain = CLIDMUClassifier(weighting=None, n_ensemble=0, **settings)
    scores = [
        m.fit(digits.data[train], digits.target[train]).score(
            digits.data[test], digits.target_clean[test]
        )
        for m in (clf, plain)
    ]
    assert scores[0] > scores[1] + 0.05  # 0.877 and 0.802 when this was written
    wrong = digits.noise_mask[train]
    assert wrong[clf.sample_indices_].mean() < 0.5 * wrong.mean()
