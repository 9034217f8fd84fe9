"""MLNTClassifier: identities, parameters, fitted state, input at the limits, collapse."""

import copy
import functools
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.utils._param_validation import InvalidParameterError
from small_mlnt import X, Y, fit, proba, small
from torch import nn

from sknoisy import CLIDMUClassifier, MLNTClassifier
from sknoisy.exceptions import CollapseWarning
from sknoisy.methods.mlnt import LabelTransfer, Mentoring, ToleranceGradient

# A mentor that was trained for so few epochs doubts whole classes.
pytestmark = pytest.mark.filterwarnings("ignore:The mentor believes hardly any label")


def plain(**parameters):
    settings = {"weighting": None, "n_ensemble": 0, "max_epochs": 3, "batch_size": 32}
    settings |= {"random_state": 0, "module_params": {"hidden": (8,), "dropout": 0.2}}
    return CLIDMUClassifier(**{**settings, **parameters})


# --- identities ---------------------------------------------------------------------------------


def test_without_synthetic_labels_it_is_cross_entropy_bit_for_bit():
    expected = plain().fit(X, Y).predict_proba(X)
    assert_array_equal(proba(n_synthetic=0), expected)
    assert fit(n_synthetic=0).predicts_with_ == "student"
    assert_array_equal(proba(predict_with="student", meta_lr=0.0), expected)


def test_images_without_synthetic_labels(images):
    """Augmentation and batch norm: the pretraining and the teacher draw nothing of the net's."""
    X, y = images
    settings = {"max_epochs": 2, "module_params": None}
    expected = plain(**settings).fit(X, y).predict_proba(X)
    off = small(**settings, meta_lr=0.0, predict_with="student").fit(X, y)
    assert_array_equal(off.predict_proba(X), expected)
    on = small(**settings).fit(X, y)
    assert not np.array_equal(on.predict_proba(X), expected)
    assert on.predict(X).shape == (40,)


def test_teacher_without_memory_is_the_student():
    both = [proba(predict_with=w, teacher_decay=0.0) for w in ("teacher", "student")]
    assert_array_equal(*both)
    both = [proba(predict_with=w) for w in ("teacher", "student")]
    assert not np.array_equal(*both)
    assert_array_equal(proba(), both[0])


def test_batched_and_looped_fits_agree():
    settings = {"module_params": {"hidden": (8,), "dropout": 0.0}}
    ways = [ToleranceGradient(batched=b) for b in (True, False)]
    batched, looped = (proba(gradient=way, **settings) for way in ways)
    assert_allclose(batched, looped, atol=1e-4)


# --- parameters ---------------------------------------------------------------------------------

OTHERS = {
    "n_synthetic": 4,
    "transfer": "rows",
    "inner_lr": 3.0,
    "meta_lr": 9.0,
    "gradient": "exact",
    "teacher_decay": 0.3,
    "n_iterations": 2,
    "predict_with": "student",
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


@functools.cache
def proba_by_default(n_iterations=1):
    return proba(inner_lr=1.0, n_iterations=n_iterations)


@pytest.mark.parametrize(("parameter", "value"), OTHERS.items())
def test_parameter_changes_the_model(parameter, value):
    changed = proba(**{"inner_lr": 1.0, parameter: value})
    assert np.abs(changed - proba_by_default()).max() > 1e-7


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("transfer", LabelTransfer(share=1.0, n_pretrain_epochs=1)),
        ("transfer", LabelTransfer(n_neighbors=1, n_pretrain_epochs=1)),
        ("transfer", LabelTransfer(n_pretrain_epochs=9)),
        ("gradient", ToleranceGradient(joint=True)),
    ],
    ids=["share", "n_neighbors", "n_pretrain_epochs", "joint"],
)
def test_option_changes_the_model(parameter, value):
    test_parameter_changes_the_model(parameter, value)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("mentoring", Mentoring(threshold=-1.0)),
        ("mentoring", Mentoring(blend=0.0)),
        ("n_iterations", 3),
    ],
    ids=["threshold", "blend", "n_iterations"],
)
def test_parameter_changes_the_second_iteration(parameter, value):
    changed = proba(**{"inner_lr": 1.0, "n_iterations": 2, parameter: value})
    assert np.abs(changed - proba_by_default(2)).max() > 1e-7


def test_every_parameter_is_constrained_and_tested():
    names = MLNTClassifier().get_params().keys()
    assert MLNTClassifier._parameter_constraints.keys() == names
    elsewhere = {"epoch_selection", "mentoring"}
    of_all = {
        "device",
        "max_time",
        "precision",
        "callbacks",
        "verbose",
        "pretrained",
        "warm_start",
        "checkpoint",
    }
    refused = {"weight_average", "n_ensemble"}
    assert names == OTHERS.keys() | elsewhere | of_all | refused


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("n_synthetic", -1),
        ("transfer", "labels"),
        ("inner_lr", -1.0),
        ("meta_lr", "big"),
        ("gradient", "reverse"),
        ("teacher_decay", 2.0),
        ("n_iterations", 0),
        ("mentoring", 0.3),
        ("predict_with", "mentor"),
        ("epoch_selection", "first"),
    ],
)
def test_parameter_values_that_are_not_known(parameter, value):
    message = rf"The '{parameter}' parameter of MLNTClassifier must be.*Got {value!r} instead"
    with pytest.raises(InvalidParameterError, match=message):
        fit(**{parameter: value})


@pytest.mark.parametrize(
    ("option", "parameter", "value"),
    [
        (LabelTransfer, "share", 1.5),
        (LabelTransfer, "n_neighbors", 0),
        (LabelTransfer, "n_pretrain_epochs", "all"),
        (Mentoring, "threshold", "small"),
        (Mentoring, "blend", -0.5),
        (ToleranceGradient, "first_order", 2),
        (ToleranceGradient, "batched", "often"),
        (ToleranceGradient, "joint", "yes"),
    ],
)
def test_option_values_that_are_not_known(option, parameter, value):
    message = rf"The '{parameter}' parameter of {option.__name__} must be.*Got {value!r} instead"
    with pytest.raises(InvalidParameterError, match=message):
        option(**{parameter: value})


def test_names_stand_for_options_with_their_defaults():
    for parameter, name, option in [
        ("transfer", "features", LabelTransfer()),
        ("transfer", "rows", LabelTransfer(n_pretrain_epochs=0)),
        ("gradient", "first_order", ToleranceGradient()),
        ("gradient", "exact", ToleranceGradient(first_order=False)),
    ]:
        assert_array_equal(proba(**{parameter: name}), proba(**{parameter: option}))
    by_name, by_option = (proba(n_iterations=2, mentoring=m) for m in ("auto", Mentoring()))
    assert_array_equal(by_name, by_option)


def test_options_are_cloned_shown_and_left_alone():
    options = {
        "transfer": LabelTransfer(share=0.3, n_pretrain_epochs=1),
        "gradient": ToleranceGradient(batched="auto", joint=True),
        "mentoring": Mentoring(threshold=0.3),
    }
    clf = small(n_iterations=2, **options)
    before = copy.deepcopy({name: vars(option) for name, option in options.items()})
    reference = clf.fit(X, Y).predict_proba(X)
    assert {name: vars(option) for name, option in options.items()} == before
    assert clf.get_params().items() >= options.items()
    cloned = clone(clf)
    for name, option in options.items():
        assert getattr(cloned, name) is not option
        assert vars(getattr(cloned, name)) == vars(option)
        assert f"{name}={option!r}" in " ".join(repr(clf).split())
    assert_array_equal(cloned.fit(X, Y).predict_proba(X), reference)


def test_values_of_auto():
    clf = fit(transfer="features", lr=0.1)
    assert (clf.inner_lr_, clf.n_pretrain_epochs_) == (0.02, 1)
    assert clf.meta_lr_ == pytest.approx(3.0)
    assert clf.n_ramp_epochs_ == 0.5
    assert clf.teacher_decay_ == 0.5  # 12 steps
    assert fit(max_epochs=100, n_synthetic=0).teacher_decay_ == pytest.approx(0.75)  # 400
    assert fit(gradient=ToleranceGradient(joint=True)).meta_lr_ == pytest.approx(0.15)
    settings = {"inner_lr": 0.02, "teacher_decay": 0.5}
    assert_array_equal(proba(lr=0.1, **settings), proba(lr=0.1))


# --- what is fitted -----------------------------------------------------------------------------


def test_same_seed_gives_the_same_model_and_round_trips_keep_it():
    first = fit(n_iterations=2)
    torch.rand(3)
    others = [fit(n_iterations=2), pickle.loads(pickle.dumps(first)), copy.deepcopy(first)]
    for other in others:
        assert_array_equal(other.predict_proba(X), first.predict_proba(X))
        assert_array_equal(other.clean_proba_, first.clean_proba_)
        assert_array_equal(other.features(X), first.features(X))
    assert_array_equal(others[1].fit(X, Y).predict_proba(X), first.predict_proba(X))
    assert_array_equal(first.clean_proba_, first.predict_proba(X)[np.arange(len(Y)), Y])


def test_global_random_state_and_input_are_left_alone():
    before, states = X.copy(), (torch.get_rng_state(), np.random.get_state()[1].copy())  # noqa: NPY002
    fit(n_iterations=2)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert_array_equal(X, before)


def test_sparse_rows_and_labels_of_any_type():
    names = np.array(["b", "a", "c"], dtype=object)
    rows = np.where(X > 1, X, 0)
    dense = small(standardize=False).fit(rows, np.array([1, 0, 2])[Y])
    sparse = small(standardize=False).fit(sp.csr_array(rows), names[Y])
    assert_allclose(sparse.predict_proba(rows), dense.predict_proba(rows), atol=1e-5)
    assert set(sparse.predict(rows)) <= set(names)


def test_weights_of_rows():
    reference = proba()
    assert_array_equal(proba(None, np.full(len(Y), 3.0)), reference)
    weights = np.where(np.arange(len(Y)) % 5 == 0, 0.0, 2.0)
    poisoned = X.copy()
    poisoned[weights == 0] += 5
    settings = {"standardize": False}
    fits = [small(**settings).fit(rows, Y, sample_weight=weights) for rows in (X, poisoned)]
    assert_array_equal(*(clf.predict_proba(X) for clf in fits))


# --- input at the limits ------------------------------------------------------------------------


def test_batches_smaller_than_the_neighbourhood():
    clf = fit(batch_size=4, transfer=LabelTransfer(n_neighbors=50), max_epochs=1)
    assert clf.predict(X).shape == Y.shape
    assert small().fit([[-1.0], [1.0]], ["low", "high"]).predict([[2.0]])[0] in {"low", "high"}


def test_operation_without_second_derivative():
    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.bag, self.fc = nn.EmbeddingBag(5, 4, mode="sum"), nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(self.bag(x.abs().long().clamp(max=4)))

    assert fit(module=Bag).predict(X).shape == Y.shape
    with pytest.raises(NotImplementedError, match=r"Bag.*embedding_bag.*first_order=True"):
        fit(module=Bag, gradient="exact")


def test_module_of_one_layer_and_float64_module():
    assert fit(module=nn.Linear(6, 3).double(), max_epochs=10).score(X, Y) > 0.5


def test_what_is_decided_is_said_if_asked(capfd):
    for verbose in (0, 1):
        fit(verbose=verbose, n_iterations=2)
        said = "".join(capfd.readouterr())
        assert ("meta_lr=at most 1.5, teacher_decay=0.5" in said) == (verbose == 1)
        assert ("the mentor believes" in said) == (verbose == 1)


def test_a_pickle_holds_no_rows():
    many = np.tile(X, (40, 1))
    sizes = [
        len(pickle.dumps(small(max_epochs=1).fit(rows, np.resize(Y, len(rows)))))
        for rows in (X, many)
    ]
    per_row = (sizes[1] - sizes[0]) / (len(many) - len(X))
    # Three probabilities, purified_labels_, clean_proba_; features of 8 columns take 32 more.
    assert per_row < 6 * 8


def test_the_switches_of_cudnn_are_the_users():
    seen = []

    class Watching(torch.nn.Linear):
        def forward(self, x):
            seen.append(torch.backends.cudnn.deterministic)
            return super().forward(x)

    with torch.backends.cudnn.flags(deterministic=True):
        small(module=Watching(6, 3), gradient="exact", max_epochs=1).fit(X, Y)
    assert len(seen) > 4
    assert all(seen)


def test_a_collapse_is_told():
    still = {"module_params": {"hidden": (8,), "dropout": 0.0}, "n_synthetic": 2}
    with pytest.warns(CollapseWarning, match="predicts one class .* Lower meta_lr, which is 1000"):
        small(meta_lr=1000.0, max_epochs=12, **still).fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        small(**still).fit(X, Y)
