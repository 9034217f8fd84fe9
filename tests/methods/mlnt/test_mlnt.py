"""MLNTClassifier: identities, parameters, iterations, choice of the epoch, input at the limits."""

import copy
import functools
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.utils._param_validation import InvalidParameterError
from small_family import noisy_blobs
from torch import nn

from sknoisy import CLIDMUClassifier
from sknoisy.methods.mlnt.classifier import MLNTClassifier
from sknoisy.methods.mlnt.mentoring import believed_rows
from sknoisy.metrics import clid

X, Y, TRUSTED = noisy_blobs()
# A mentor that was trained for so few epochs doubts whole classes.
pytestmark = pytest.mark.filterwarnings("ignore:The mentor believes hardly any label")


def small(**parameters):
    """A classifier that is fitted in a tenth of a second."""
    settings = {"max_epochs": 3, "batch_size": 32, "n_synthetic": 3, "n_pretrain_epochs": 1}
    if "module" not in parameters:
        settings["module_params"] = {"hidden": (8,), "dropout": 0.2}
    return MLNTClassifier(**{"random_state": 0, **settings, **parameters})


def fit(clean_mask=None, sample_weight=None, y=Y, **parameters):
    return small(**parameters).fit(X, y, clean_mask=clean_mask, sample_weight=sample_weight)


def proba(*args, **parameters):
    return fit(*args, **parameters).predict_proba(X)


def plain(**parameters):
    settings = {"weighting": None, "n_ensemble": 0, "max_epochs": 3, "batch_size": 32}
    settings |= {"random_state": 0, "module_params": {"hidden": (8,), "dropout": 0.2}}
    return CLIDMUClassifier(**{**settings, **parameters})


# --- identities ---------------------------------------------------------------------------------


def test_without_synthetic_labels_it_is_cross_entropy_bit_for_bit():
    expected = plain().fit(X, Y).predict_proba(X)
    assert_array_equal(proba(n_synthetic=0), expected)
    assert fit(n_synthetic=0).predicts_with_ == "student"
    for of_meta in ({"meta_lr": 0.0}, {"n_warmup_epochs": 3}):
        assert_array_equal(proba(predict_with="student", **of_meta), expected)


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
    batched, looped = (proba(batched=b, **settings) for b in (True, False))
    assert_allclose(batched, looped, atol=1e-4)


# --- parameters ---------------------------------------------------------------------------------

OTHERS = {
    "n_synthetic": 4,
    "transfer_share": 1.0,
    "n_neighbors": 1,
    "inner_lr": 3.0,
    "meta_lr": 9.0,
    "meta_step": "joint",
    "first_order": False,
    "n_warmup_epochs": 1,
    "n_ramp_epochs": 2.0,
    "n_pretrain_epochs": 9,
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
    ("parameter", "value"), [("mentor_threshold", -1.0), ("blend", 0.0), ("n_iterations", 3)]
)
def test_parameter_changes_the_second_iteration(parameter, value):
    changed = proba(**{"inner_lr": 1.0, "n_iterations": 2, parameter: value})
    assert np.abs(changed - proba_by_default(2)).max() > 1e-7


def test_every_parameter_is_constrained_and_tested():
    names = MLNTClassifier().get_params().keys()
    assert MLNTClassifier._parameter_constraints.keys() == names
    elsewhere = {"batched", "epoch_selection", "mentor_threshold", "blend"}
    of_all = {"device", "callbacks", "verbose"}
    assert names == OTHERS.keys() | elsewhere | of_all


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("n_synthetic", -1),
        ("transfer_share", 1.5),
        ("n_neighbors", 0),
        ("inner_lr", -1.0),
        ("meta_lr", "big"),
        ("meta_step", "both"),
        ("teacher_decay", 2.0),
        ("n_iterations", 0),
        ("blend", -0.5),
        ("predict_with", "mentor"),
        ("epoch_selection", "first"),
    ],
)
def test_parameter_values_that_are_not_known(parameter, value):
    message = rf"The '{parameter}' parameter of MLNTClassifier must be.*Got {value!r} instead"
    with pytest.raises(InvalidParameterError, match=message):
        fit(**{parameter: value})


def test_values_of_auto():
    clf = fit(n_pretrain_epochs="auto", lr=0.1)
    assert (clf.inner_lr_, clf.n_pretrain_epochs_) == (0.02, 1)
    assert clf.meta_lr_ == pytest.approx(3.0)
    assert clf.n_ramp_epochs_ == 0.5
    assert clf.teacher_decay_ == 0.5  # 12 steps
    assert fit(max_epochs=100, n_synthetic=0).teacher_decay_ == pytest.approx(0.75)  # 400
    assert fit(meta_step="joint").meta_lr_ == pytest.approx(0.15)
    settings = {"inner_lr": 0.02, "n_ramp_epochs": 0.5, "teacher_decay": 0.5}
    assert_array_equal(proba(lr=0.1, **settings), proba(lr=0.1))


# --- the choice of the epoch --------------------------------------------------------------------


def predictions(clf, name):
    """Classes that a network says on the training rows, by its state."""
    callbacks = dict(clf.net_.callbacks_)
    module = {"student": clf.net_.module_, "teacher": callbacks["teacher"].teacher_}[name]
    with torch.no_grad():
        return module(clf._rows(X).take(torch.arange(len(X)))).argmax(dim=1).numpy()


@pytest.mark.parametrize("by", ["agreement", "clid"])
def test_epochs_are_chosen_without_clean_labels(by):
    settings = {"max_epochs": 8, "lr_schedule": "constant", "n_ramp_epochs": 2.0}
    settings |= {"teacher_decay": 0.9, "n_pretrain_epochs": 1}
    clf = fit(epoch_selection=by, **settings)
    scores = np.array(clf.history_[:, by]) * (-1 if by == "clid" else 1)
    assert clf.best_epoch_ == 8 - np.argmax(scores[:1:-1])  # of equal ones the last; not the ramp
    if by == "agreement":
        now = np.mean(predictions(clf, "student") == predictions(clf, "teacher"))
    else:
        module = dict(clf.net_.callbacks_)["teacher"].teacher_
        clf._states = [module.state_dict()]
        now = -clid(clf.features(X[:0:-1]), clf.predict_proba(X[:0:-1]))
    assert scores[-1] == pytest.approx(now, rel=0.01)
    shorter = fit(**{**settings, "max_epochs": clf.best_epoch_})
    found = fit(epoch_selection=by, **settings)
    assert_array_equal(found.predict_proba(X), shorter.predict_proba(X))


def test_trusted_rows_choose_epoch_and_network_and_do_not_train():
    clf = fit(TRUSTED, max_epochs=5)
    judges = clf.validation_rows_
    assert TRUSTED[judges].all()
    for label in range(3):
        of_class = label == Y
        assert (Y[judges] == label).sum() == min(
            np.ceil(0.1 * of_class.sum()), (of_class & TRUSTED).sum()
        )
    best = max(clf.history_[:, "trusted"])
    assert np.mean(clf.predict(X[judges]) == Y[judges]) == best
    weights = np.ones(len(Y))
    weights[judges] = 0
    held_out = fit(None, weights, max_epochs=clf.best_epoch_, lr_schedule="constant")
    again = fit(TRUSTED, max_epochs=5, lr_schedule="constant", epoch_selection="last")
    assert not hasattr(again, "validation_rows_")
    assert not np.array_equal(again.predict_proba(X), held_out.predict_proba(X))
    poisoned = Y.copy()
    poisoned[judges] = (poisoned[judges] + 1) % 3
    last = {"epoch_selection": "last", "max_epochs": 3}
    assert_array_equal(fit(None, weights, **last).predict_proba(X),
                       fit(None, weights, y=poisoned, **last).predict_proba(X))  # fmt: skip
    assert (clf.clean_proba_[TRUSTED] == 1).all()


def test_trusted_rows_of_a_class_are_not_all_held_out():
    keep = (Y != 2) | (np.cumsum(Y == 2) == 1)  # one row of class 2, which is trusted
    mask = np.ones(keep.sum(), dtype=bool)
    clf = small(max_epochs=4).fit(X[keep], Y[keep], clean_mask=mask)
    assert set(Y[keep][clf.validation_rows_]) == {0, 1}
    assert not hasattr(clf.fit(X, Y), "validation_rows_")


def test_trusted_selection_without_trusted_rows():
    with pytest.raises(ValueError, match=r"epoch_selection='trusted'.*pass clean_mask to fit"):
        fit(epoch_selection="trusted")


# --- the iterations -----------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", ["auto", 0.36])
def test_mentor_filters_by_its_probability(threshold):
    """The mentor is the network of a fit of one iteration."""
    mentor = fit(max_epochs=12)
    p = mentor.predict_proba(X)
    expected = mentor.predict(X) == Y if threshold == "auto" else p[np.arange(len(Y)), Y] > 0.36
    clf = fit(n_iterations=2, mentor_threshold=threshold, max_epochs=12)
    assert_array_equal(clf.kept_rows_, expected)
    assert 30 < expected.sum() < 110
    assert clf.n_iterations_ == 2
    assert fit(n_iterations=2, mentor_threshold=-1.0).kept_rows_.all()
    assert not hasattr(fit(), "kept_rows_")


def test_lost_classes_have_a_floor_and_trusted_rows_are_kept():
    with pytest.warns(UserWarning, match=r"label of class \[0, 1, 2\].*keeps more than 2\.0"):
        clf = fit(n_iterations=2, mentor_threshold=2.0)
    of_given = proba()[np.arange(len(Y)), Y]
    for label in range(3):
        kept = clf.kept_rows_ & (label == Y)
        assert kept.sum() == 10
        assert of_given[kept].min() >= of_given[~clf.kept_rows_ & (label == Y)].max()
    trusted = np.arange(len(Y)) % 2 == 0
    clf = fit(trusted, n_iterations=2, mentor_threshold=2.0, epoch_selection="last")
    assert_array_equal(clf.kept_rows_, trusted)


def test_floor_is_half_of_a_small_class_and_of_rows_that_count():
    p = np.tile([0.9, 0.1], (8, 1)) + np.linspace(0, 0.05, 8)[:, None] * [-1, 1]
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    counts = np.arange(8) != 7
    never = np.zeros(8, dtype=bool)
    classes = np.array(["a", "b"])
    with pytest.warns(UserWarning, match=r"class \['b'\]"):
        kept = believed_rows(p, labels, "auto", never, counts, classes)
    assert_array_equal(kept, [True, True, True, False, False, True, True, False])


def test_cross_entropy_is_that_of_the_kept_rows():
    """The labels that remain are easier to learn."""
    clf = fit(n_synthetic=0, n_iterations=2, max_epochs=8)
    assert 0 < clf.kept_rows_.sum() < len(Y)
    weights = dict(zip(*np.unique(clf.kept_rows_, return_counts=True), strict=True))
    assert weights[False] > 10
    assert (
        clf.history_[-1, "train_loss"]
        < 0.8 * fit(n_synthetic=0, max_epochs=8).history_[-1, "train_loss"]
    )


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
    clf = fit(batch_size=4, n_neighbors=50, max_epochs=1)
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
        fit(module=Bag, first_order=False)


def test_module_of_one_layer_and_float64_module():
    assert fit(module=nn.Linear(6, 3).double(), max_epochs=10).score(X, Y) > 0.5


def test_what_is_decided_is_said_if_asked(capfd):
    for verbose in (0, 1):
        fit(verbose=verbose, n_iterations=2)
        said = "".join(capfd.readouterr())
        assert ("meta_lr=at most 1.5, teacher_decay=0.5" in said) == (verbose == 1)
        assert ("the mentor believes" in said) == (verbose == 1)
