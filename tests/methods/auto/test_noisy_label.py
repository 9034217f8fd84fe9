"""NoisyLabelClassifier: the choice of a method, the ensemble, and the final classifier."""

import functools
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import ClassifierMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils._param_validation import InvalidParameterError
from small_family import noisy_blobs
from torch import nn

import sknoisy
from sknoisy import (
    CLIDMUClassifier,
    NoisyLabelClassifier,
    PurifiedClassifier,
)
from sknoisy.exceptions import SelectionWarning
from sknoisy.methods.auto import classifier as noisy_label
from sknoisy.methods.dmlp import frozen_features
from sknoisy.methods.registry import METHODS, estimator_class
from sknoisy.networks import PreActResNet
from sknoisy.representation import SimCLR

X, Y, TRUSTED = noisy_blobs()
TRUTH = noisy_blobs(rate=0.0)[1]
NAMES = np.array(["ant", "bee", "cat"])[Y]
NETWORKS = {"max_epochs": 3, "batch_size": 32, "module_params": {"hidden": (8,)}}
# Networks that are trained for so few epochs warn.
pytestmark = [
    pytest.mark.usefixtures("small_forests"),
    pytest.mark.filterwarnings("ignore::sknoisy.exceptions.CollapseWarning"),
    pytest.mark.filterwarnings("ignore::sknoisy.exceptions.MixtureWarning"),
    pytest.mark.filterwarnings("ignore:The mentor believes hardly any label"),
]


SERIES = {"module": nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), "max_epochs": 2}


def small(**parameters):
    """Return a classifier whose network is trained for three epochs, on the CPU."""
    return NoisyLabelClassifier(
        **{"network_params": NETWORKS, "device": "cpu", "random_state": 0, **parameters}
    )


@functools.cache
def by_ensemble():
    """Return a classifier that was fitted on (X, NAMES)."""
    return small().fit(X, NAMES)


# --- what is picked -----------------------------------------------------------------------------


def test_pixels_of_small_images_are_columns(images):
    X, y = images
    clf = small().fit(X, y)
    assert clf.choice_[:2] == ("ensemble", "X holds images of (8, 8, 3), whose pixels are columns")
    assert clf.image_shape_ == (8, 8, 3)
    table = small().fit(X.reshape(len(X), -1), y)
    assert_array_equal(clf.predict_proba(X), table.predict_proba(X.reshape(len(X), -1)))


def test_large_images_are_for_clid_mu(images, monkeypatch):
    monkeypatch.setattr(frozen_features, "_MOST_PIXELS", 191)
    clf = small(network_params={"max_epochs": 2}).fit(*images)
    assert clf.choice_[:2] == ("clid_mu", "X holds images of (8, 8, 3)")
    assert isinstance(clf.estimator_, CLIDMUClassifier)


def test_the_ensemble_learns_features_by_name(images):
    X, y = images
    clf = small(representation="simclr").fit(X, y)
    assert clf.choice_[:2] == ("ensemble", "there is a representation")
    features = clf.representation_.transform(X)
    assert isinstance(clf.representation_, SimCLR)
    table = small().fit(features, y)
    assert_array_equal(clf.predict_proba(X), table.predict_proba(features))


def test_a_representation_of_the_user_is_fitted_on_rows_of_any_kind(images):
    X, y = images
    halves = FunctionTransformer(lambda X: X.reshape(len(X), 2, -1).mean(axis=2))
    for rows in (X, X.reshape(len(X), -1), X.reshape(len(X), 2, -1).astype(float)):
        clf = small(representation=halves).fit(rows, y)
        features = halves.transform(rows).astype(np.float32)
        table = small().fit(features, y)
        assert clf.choice_.method == "ensemble"
        assert_array_equal(clf.predict_proba(rows), table.predict_proba(features))


def test_images_with_a_module_of_the_user_are_for_a_network(images):
    params = {"max_epochs": 2, "module": PreActResNet, "module_params": {"depth": "small"}}
    clf = small(network_params=params).fit(*images)
    assert clf.choice_.method == "clid_mu"
    rows = images[0].reshape(40, 48, 4).astype(float)
    assert small(network_params=SERIES).fit(rows, images[1]).choice_.method == "famus"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_by_name_is_its_class_with_these_parameters(name):
    clf = small(method=name).fit(X, NAMES, clean_mask=TRUSTED)
    cls = estimator_class(METHODS[name].estimator)
    assert type(clf.estimator_) is cls
    assert cls.__name__.lower() == name.replace("_", "") + "classifier"
    seed = clf.estimator_.random_state
    expected = cls(random_state=seed, device="cpu", verbose=0, **NETWORKS)
    assert clf.estimator_.get_params() == expected.get_params()
    assert clf.choice_[:2] == (name, "it was asked for")
    proba = clf.estimator_.predict_proba(X)
    assert_array_equal(clf.predict_proba(X), proba)
    assert_array_equal(clf.predict(X), clf.classes_[proba.argmax(axis=1)])
    for name in ("clean_proba_", "label_distribution_", "purified_labels_"):
        assert_array_equal(getattr(clf, name), getattr(clf.estimator_, name))
    assert_allclose(clf.transition_.sum(axis=1), 1)
    expected = clf.purified_labels_
    assert_array_equal(expected[TRUSTED], NAMES[TRUSTED])
    assert clf.choice_.noise_rate == np.mean(expected != NAMES)


def test_a_method_by_name_is_fitted_on_all_that_was_passed():
    weight = np.linspace(0, 1, len(X))
    clf = small(method="l2r").fit(X, NAMES, clean_mask=TRUSTED, sample_weight=weight)
    alone = clone(clf.estimator_).fit(X, Y, clean_mask=TRUSTED, sample_weight=weight)
    assert_array_equal(clf.predict_proba(X), alone.predict_proba(X))


def test_every_classifier_of_the_library_has_a_name():
    public = (getattr(sknoisy, name) for name in sknoisy.__all__)
    others = {
        cls
        for cls in public
        if isinstance(cls, type)
        and issubclass(cls, ClassifierMixin)
        and cls not in (NoisyLabelClassifier, PurifiedClassifier)
    }
    assert {estimator_class(method.estimator) for method in METHODS.values()} == others


# --- the ensemble -------------------------------------------------------------------------------


def test_it_repairs_labels():
    assert np.mean(Y == TRUTH) < 0.82
    clf = by_ensemble()
    truth = np.array(["ant", "bee", "cat"])[TRUTH]
    assert np.mean(clf.purified_labels_ == truth) > 0.9
    assert clf.score(X, truth) > 0.9


def test_the_attributes_of_labels_agree():
    clf = small().fit(X, NAMES, clean_mask=TRUSTED)
    distribution, rows = clf.label_distribution_, np.arange(len(X))
    assert_allclose(distribution.sum(axis=1), 1)
    assert_array_equal(clf.purified_labels_, clf.classes_[distribution.argmax(axis=1)])
    assert_array_equal(clf.clean_proba_, distribution[rows, Y])
    assert_array_equal(distribution[TRUSTED], np.eye(3)[Y[TRUSTED]])
    assert clf.choice_.noise_rate == np.mean(clf.purified_labels_ != NAMES)


def test_the_choice_lists_all_candidates_and_the_shares_of_those_that_predict():
    clf = by_ensemble()
    assert clf.choice_[:2] == ("ensemble", "X is a table of 120 rows")
    names = [candidate.name for candidate in clf.choice_.candidates]
    assert len(set(names)) == len(names)
    assert {"forest, leaf 1", "rbf kernel, sharpness 1", "network", "boosting"} <= set(names)
    shares = np.array([candidate.share for candidate in clf.choice_.candidates])
    assert_allclose(shares.sum(), 1)
    assert (shares == 0).sum() >= 10
    scores = [candidate.brier_score for candidate in clf.choice_.candidates]
    assert 0 < min(scores) < max(scores) <= 2


def test_trusted_rows_keep_labels_that_all_learners_contradict():
    surest = small().fit(X, TRUTH).predict_proba(X).max(axis=1)
    row = np.flatnonzero(TRUSTED)[surest[TRUSTED].argmax()]
    y = Y.copy()
    y[row] = (TRUTH[row] + 1) % 3
    assert small().fit(X, y).purified_labels_[row] == TRUTH[row]
    clf = small().fit(X, y, clean_mask=TRUSTED)
    assert clf.purified_labels_[row] == y[row]
    assert (clf.clean_proba_[TRUSTED] == 1).all()
    assert (clf.clean_proba_[~TRUSTED] < 1).all()


@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.ShrunkenClassWarning")
def test_no_class_is_lost(monkeypatch):
    """Rows of all other classes have a label of their own, which is always wrong."""
    y = TRUTH.copy()
    y[::12] = 3
    clf = small().fit(X, y)
    assert set(clf.purified_labels_) == {0, 1, 2, 3}
    assert clf.predict_proba(X).shape == (120, 4)
    monkeypatch.setattr(noisy_label, "keep_classes", lambda proba, codes: proba)
    assert set(small().fit(X, y).purified_labels_) == {0, 1, 2}


def test_two_rows_of_two_classes_are_enough():
    rows, y = [[-1.0], [1.0]], ["low", "high"]
    clf = NoisyLabelClassifier(random_state=0).fit(rows, y)
    assert clf.purified_labels_.tolist() == clf.predict(rows).tolist() == y


def test_labels_of_rows_of_weight_zero_have_no_part():
    weight = np.where(np.arange(len(X)) < 30, 0.0, 1.0)
    other = Y.copy()
    other[:30] = (Y[:30] + 1) % 3
    first, second = (small().fit(X, y, sample_weight=weight) for y in (Y, other))
    assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    assert_array_equal(first.purified_labels_[30:], second.purified_labels_[30:])
    assert not np.array_equal(first.predict_proba(X), small().fit(X, Y).predict_proba(X))


# --- what learns --------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_an_estimator_learns_the_purified_labels_and_nothing_else(weighted):
    weight = np.linspace(0.5, 1.5, len(X)) if weighted else None
    estimator = RandomForestClassifier(5)
    clf = small(estimator=estimator).fit(X, NAMES, sample_weight=weight)
    seed = clf.estimator_.random_state
    alone = RandomForestClassifier(5, random_state=seed).fit(X, clf.purified_labels_, weight)
    assert_array_equal(clf.predict_proba(X), alone.predict_proba(X))
    assert_array_equal(clf.predict(X), alone.predict(X))
    assert estimator.random_state is None
    assert not hasattr(estimator, "classes_")
    decided = small(estimator=RandomForestClassifier(5, random_state=7)).fit(X, Y)
    assert decided.estimator_.random_state == 7


def test_a_class_of_rows_without_weight_is_no_class_of_the_estimator():
    weight = (Y != 1).astype(float)
    clf = small(estimator=LogisticRegression()).fit(X, NAMES, sample_weight=weight)
    assert_array_equal(clf.predict_proba(X)[:, 1], 0)
    assert np.mean((clf.predict(X) == NAMES)[TRUTH != 1]) > 0.7
    assert set(clf.predict(X)) == {"ant", "cat"}


@pytest.mark.parametrize(
    "rows", [np.zeros((90, 3)), sp.csr_array((90, 3000))], ids=["dense", "wide"]
)
def test_labels_stay_where_rows_say_nothing(rows):
    with pytest.warns(SelectionWarning, match="keeps all labels: held-out rows do not tell"):
        clf = small().fit(rows, np.arange(90) % 3)
    assert clf.choice_.noise_rate == 0


def test_an_estimator_of_another_method_is_refused(images):
    estimator = LogisticRegression()
    message = r"LogisticRegression\(\) learns .* the method here is 'mild', because it was asked"
    with pytest.raises(ValueError, match=message + r".*estimator=None, or method=\"ensemble\""):
        small(method="mild", estimator=estimator).fit(X, Y)
    rows, y = images[0].reshape(40, 48, 4), images[1]
    with pytest.raises(ValueError, match="'famus', because X is no table"):
        small(estimator=estimator, network_params=SERIES).fit(rows, y)


def test_a_representation_for_another_method_is_refused():
    message = "representation='scarf' is for the ensemble, but the method here is 'mild'"
    with pytest.raises(ValueError, match=message):
        small(method="mild", representation="scarf").fit(X, Y)


def test_an_ensemble_on_rows_without_columns_is_refused(images):
    message = r'method="ensemble" needs a table or images.*\(48, 4\).*or a representation'
    with pytest.raises(ValueError, match=message):
        small(method="ensemble", network_params=SERIES).fit(
            images[0].reshape(40, 48, 4), images[1]
        )


def test_weights_for_an_estimator_that_takes_none_are_refused():
    clf = small(estimator=KNeighborsClassifier())
    assert clf.fit(X, Y).score(X, TRUTH) > 0.8
    message = "sample_weight .* KNeighborsClassifier.fit does not take it. Leave it out, or pass"
    with pytest.raises(TypeError, match=message):
        clf.fit(X, Y, sample_weight=1.0 + Y)
    assert clf.fit(X, Y, sample_weight=np.full(len(X), 2.0)).score(X, TRUTH) > 0.8


# --- parameters ---------------------------------------------------------------------------------


def test_parameters_of_the_network_arrive(monkeypatch):
    fitted = []
    monkeypatch.setattr(CLIDMUClassifier, "fit", lambda self, X, y: fitted.append(self) or stop())

    def stop():
        raise RuntimeError("enough")

    own = {**NETWORKS, "lr": 0.02}
    device = torch.device("cpu")
    with pytest.raises(RuntimeError, match="enough"):
        small(network_params=own, device=device).fit(X, Y)
    params = fitted[0].get_params()
    assert {name: params[name] for name in own} == own
    assert params["device"] == device
    assert params["weighting"] is None
    assert own == {**NETWORKS, "lr": 0.02}


def test_the_number_of_threads_makes_no_difference():
    one, two = (small(n_jobs=n).fit(X, Y).predict_proba(X) for n in (None, 2))
    assert_array_equal(one, two)


@pytest.mark.parametrize("method", ["ensemble", "l2r", "mild"])
def test_bad_parameters_of_the_networks_are_refused(method):
    message = r"The 'max_epochs' parameter of \w+Classifier must be .* Got 0 instead"
    with pytest.raises(InvalidParameterError, match=message):
        small(method=method, network_params={"max_epochs": 0}).fit(X, Y)


def test_verbose_prints_the_choice_and_its_reason(capsys):
    small().fit(X, Y)
    assert capsys.readouterr().err == ""
    clf = small(verbose=1).fit(X, Y)
    rate = f"{clf.choice_.noise_rate:.0%}"
    assert (
        "NoisyLabelClassifier: method='ensemble', because X is a table of 120 rows; about "
        f"{rate} of the labels are wrong."
    ) in capsys.readouterr().err


def test_random_state():
    first, same, other = (small(random_state=s).fit(X, Y).predict_proba(X) for s in (0, 0, 1))
    assert_array_equal(first, same)
    assert not np.array_equal(first, other)
    moving, again = (small(random_state=np.random.RandomState(0)) for _ in range(2))
    first = moving.fit(X, Y).predict_proba(X)
    assert_array_equal(again.fit(X, Y).predict_proba(X), first)
    assert not np.array_equal(moving.fit(X, Y).predict_proba(X), first)


def test_global_random_states_are_as_they_were():
    before = torch.get_rng_state(), pickle.dumps(np.random.get_state())  # noqa: NPY002
    clf = small(random_state=None).fit(X, Y)
    clf.predict(X)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert pickle.dumps(np.random.get_state()) == before[1]  # noqa: NPY002


# --- forms of X and y ---------------------------------------------------------------------------


def test_two_classes_of_any_type():
    keep = TRUTH < 2
    rows, y = X[keep], np.where(np.arange(keep.sum()) % 5 == 0, 1 - TRUTH[keep], TRUTH[keep])
    expected = small().fit(rows, y)
    assert expected.predict_proba(rows).shape == (keep.sum(), 2)
    assert expected.score(rows, TRUTH[keep]) > 0.9
    for labels in (y.astype(bool), np.array(["no", "yes"])[y], pd.Series(y, dtype="Int64")):
        clf = small().fit(rows, labels)
        assert_array_equal(clf.predict_proba(rows), expected.predict_proba(rows))
        assert clf.purified_labels_.dtype == clf.predict(rows).dtype == clf.classes_.dtype
        assert_array_equal(clf.purified_labels_, clf.classes_[expected.purified_labels_])


def test_sparse_and_dense_tables_give_the_same_labels():
    rows = np.where(X > 0.5, X, 0)
    dense, sparse = small().fit(rows, Y), small().fit(sp.csr_array(rows), Y)
    assert_array_equal(sparse.purified_labels_, dense.purified_labels_)
    assert_allclose(sparse.clean_proba_, dense.clean_proba_, atol=1e-4)
    assert_allclose(sparse.predict_proba(sp.csc_array(rows)), dense.predict_proba(rows), atol=1e-6)


def test_frames_and_memory_maps_are_their_values(tmp_path):
    expected = small().fit(X, Y).predict_proba(X)
    frame = pd.DataFrame(X, columns=list("abcdef"))
    clf = small().fit(frame, pd.Series(Y))
    assert clf.feature_names_in_.tolist() == list("abcdef")
    assert_array_equal(clf.predict_proba(frame), expected)
    with pytest.raises(ValueError, match="must be in the same order"):
        clf.predict(frame[list("bacdef")])
    np.save(tmp_path / "X.npy", X)
    rows = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_array_equal(small().fit(rows, Y).predict_proba(rows), expected)


# --- life cycle ---------------------------------------------------------------------------------


def test_a_fit_forgets_the_one_before(images):
    clf = small(network_params={"max_epochs": 2}).fit(pd.DataFrame(X, columns=list("abcdef")), Y)
    assert clf.choice_.candidates
    params = {"max_epochs": 2, "module": PreActResNet, "module_params": {"depth": "small"}}
    clf.set_params(network_params=params).fit(*images)
    assert clf.choice_.candidates == ()
    assert clf.choice_.method == "clid_mu"
    assert not hasattr(clf, "feature_names_in_")
    assert len(clf.purified_labels_) == len(clf.clean_proba_) == 40
    with pytest.raises(TypeError, match="layers"):
        clf.set_params(network_params={"layers": 3}).fit(*images)
    with pytest.raises(NotFittedError):
        clf.predict(images[0])


def test_a_pickled_classifier_predicts_the_same():
    clf = by_ensemble()
    again = pickle.loads(pickle.dumps(clf))
    assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert again.choice_ == clf.choice_


def test_a_grid_search_over_methods():
    grid = {"method": ["l2r", "clid_mu"], "network_params": [NETWORKS, {**NETWORKS, "lr": 1e-6}]}
    search = GridSearchCV(small(), grid, cv=2, scoring="neg_log_loss").fit(X, NAMES)
    assert search.best_params_["network_params"] == NETWORKS
    assert search.best_estimator_.choice_.method == search.best_params_["method"]
    assert len(set(search.cv_results_["mean_test_score"])) == 4
