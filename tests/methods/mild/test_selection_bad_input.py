"""CleanSampleSelector: degenerate input, pure noise, rounds that fail, and Ctrl-C."""

import pickle
import re
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback
from small_selectors import GIVEN, RIGHT, X, kept, quick, record
from torch import nn

from sknoisy import CleanSampleSelector
from sknoisy.exceptions import (
    InterruptedFitWarning,
    NonFiniteLossError,
    SelectionWarning,
    ShrunkenClassWarning,
)
from sknoisy.methods.mild.dynamics import LearningDynamics

MODULE = "sknoisy.methods.mild.selector"


def words(*parts):
    """A pattern that finds the parts in this order."""
    return "(?s)" + ".*".join(map(re.escape, parts))


class InRound(Callback):
    """Calls a function of the net at the begin of an epoch of a round; both count from 1."""

    def __init__(self, function, n_round, epoch, rounds=None):
        self.function, self.n_round, self.epoch = function, n_round, epoch
        self.rounds = [] if rounds is None else rounds

    def __deepcopy__(self, memo):  # the list is the same: each round has a copy
        return InRound(self.function, self.n_round, self.epoch, self.rounds)

    def on_train_begin(self, net, **kwargs):
        self.rounds.append(None)

    def on_epoch_begin(self, net, **kwargs):
        if (len(self.rounds), len(net.history)) == (self.n_round, self.epoch):
            self.function(net)


def poison(net):
    with torch.no_grad():
        net.module_.fc.weight.fill_(torch.nan)


def press(net):
    raise KeyboardInterrupt


# --- degenerate input ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 4, 5, 7])
def test_rows_too_few_to_judge_are_all_kept(n):
    selector = quick().fit(np.arange(n)[:, None] * 1.0, np.arange(n) % 2)
    assert selector.clean_mask_.all()
    assert selector.n_iter_ == 1
    if n < 5:
        assert selector.stop_reason_ == f"{n} rows are fewer than the mixture's 5 parameters"


def test_fewer_rows_than_classes_of_the_noise():
    """Each row is its own class."""
    selector = quick().fit(np.arange(6)[:, None] * 1.0, list("abcdef"))
    assert_array_equal(selector.sample_indices_, np.arange(6))


def test_rows_that_are_all_alike():
    with pytest.warns(SelectionWarning):
        selector = quick(min_per_class=3).fit(np.ones((30, 2)), np.arange(30) % 3)
    assert np.bincount(np.arange(30)[selector.sample_indices_] % 3, minlength=3).min() >= 3


@pytest.mark.parametrize("noise", [False, True])
def test_a_single_epoch(noise):
    """Scores are 1 and -1."""
    y = GIVEN if noise else np.argmax(X[:, :3], axis=1)
    selector = quick(max_epochs=1).fit(X, y)
    assert set(selector.memorization_ - selector.forgetting_) <= {-1.0, 1.0}
    assert np.bincount(y[selector.sample_indices_]).min() >= 10
    assert selector.clean_mask_[selector.clean_proba_ == 1].mean() > 0.9


def test_scores_that_are_all_the_same():
    def same(bits, n_rows):
        return LearningDynamics(np.ones(n_rows), np.zeros(n_rows))

    selector = quick(metric=same).fit(X, GIVEN)
    assert selector.clean_mask_.all()
    assert selector.stop_reason_ == "all scores are 1"
    assert selector.rounds_[0]["mixture"] is None
    assert np.isnan(selector.rounds_[0]["threshold"])


# --- pure noise ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shuffled():
    return np.random.default_rng(3).permutation(GIVEN)


def test_pure_noise_is_named_and_no_class_is_emptied(shuffled):
    selector = quick(min_per_class=12)
    message = words("half of the 180 rows", "no better than chance", "module, more rows, or check")
    with pytest.warns(SelectionWarning, match=message) as caught:
        selector.fit(X, shuffled)
    assert caught[0].filename == __file__
    # Classes that have lost most rows are named, too.
    assert [warning.category for warning in caught] == [SelectionWarning, ShrunkenClassWarning]
    assert np.bincount(shuffled[selector.sample_indices_]).min() >= 12
    with pytest.warns(SelectionWarning):
        quick(n_rounds=1).fit(X, shuffled)


@pytest.mark.parametrize("seed", range(3))
def test_labels_that_can_be_learned_are_not_called_noise(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert quick(random_state=seed).fit(X, GIVEN).n_iter_ == 2


def test_the_check_of_the_labels_does_not_change_the_selection(monkeypatch):
    """Neither its draws nor its result do."""
    expected = quick(stopping=False).fit(X, GIVEN)
    monkeypatch.setattr(f"{MODULE}.beats_chance", lambda given, predicted: False)
    with pytest.warns(SelectionWarning):
        found = quick(stopping=False).fit(X, GIVEN)
    assert_array_equal(found.clean_proba_, expected.clean_proba_)
    assert_array_equal(found.sample_indices_, expected.sample_indices_)


def test_the_check_predicts_rows_that_were_not_learned(monkeypatch, shuffled):
    """A network that memorises any labels cannot predict those that it has not seen."""
    seen = []
    monkeypatch.setattr(f"{MODULE}.beats_chance", lambda *labels: seen.append(labels) or True)
    parameters = {
        "max_epochs": 60,
        "module_params": {"hidden": (128, 128), "dropout": 0.0},
        "optimizer": "adam",
        "optimizer_params": {"weight_decay": 0.0},
        "lr": 0.01,
    }
    selector = quick(n_rounds=1, stopping=False, min_per_class=1, **parameters).fit(X, shuffled)
    ((given, predicted),) = seen
    assert len(given) == len(predicted) == sum(np.bincount(shuffled) // 2)
    last = np.unpackbits(record(selector).bits_, axis=1, count=len(X))[-1]
    assert last.mean() > 0.9
    assert np.mean(given == predicted) < 0.5


# --- rounds that fail ---------------------------------------------------------------------------


def test_a_later_round_that_fails_leaves_the_selection_of_the_round_before():
    expected = quick(n_rounds=1, stopping=False).fit(X, GIVEN)
    selector = quick(stopping=False, callbacks=[InRound(poison, 2, 2)])
    message = words("Round 2 failed: The training loss became nan in epoch 2", "of round 1 stands")
    with pytest.warns(SelectionWarning, match=message) as caught:
        selector.fit(X, GIVEN)
    assert caught[0].filename == __file__
    assert_array_equal(selector.sample_indices_, expected.sample_indices_)
    assert_array_equal(selector.clean_proba_, expected.clean_proba_)
    assert kept(selector) == kept(expected)
    assert selector.stop_reason_ == "the training loss became NaN or infinite"
    assert all(p.isfinite().all() for p in selector.net_.module_.parameters())


def test_a_first_round_that_fails_is_an_error():
    selector = quick().fit(X, GIVEN)
    selector.set_params(callbacks=[InRound(poison, 1, 2)])
    with pytest.raises(NonFiniteLossError, match="became nan in epoch 2"):
        selector.fit(X, GIVEN)
    with pytest.raises(NotFittedError):
        check_is_fitted(selector)


# --- Ctrl-C -------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [1, 4])
def test_ctrl_c_in_the_first_round_selects_every_row(epoch):
    message = words("interrupted in round 1 of 4", "selection is that of round 0, 180 of 180 rows")
    selector = quick(callbacks=[InRound(press, 1, epoch)])
    with pytest.warns(InterruptedFitWarning, match=message) as caught:
        rows, labels = selector.fit_resample(X, GIVEN)
    assert len(caught) == 1
    assert rows is X
    assert labels is GIVEN
    assert selector.stop_reason_ == "fit was interrupted"
    assert selector.rounds_ == []
    assert selector.n_iter_ == 0
    check_is_fitted(selector)
    epochs = selector.memorization_ + selector.forgetting_
    assert_array_equal(epochs, epoch - 1)  # those that ended
    expected = 0.5 if epoch == 1 else selector.forgetting_ / 3
    assert_array_equal(selector.clean_proba_, expected)
    pickle.loads(pickle.dumps(selector))


def test_ctrl_c_in_the_second_round_leaves_the_selection_of_the_first():
    expected = quick(n_rounds=1, stopping=False).fit(X, GIVEN)
    selector = quick(stopping=False, callbacks=[InRound(press, 2, 3)])
    n_left = len(expected.sample_indices_)
    message = words("in round 2 of 4", f"selection is that of round 1, {n_left} of 180 rows")
    with pytest.warns(InterruptedFitWarning, match=message) as caught:
        selector.fit(X, GIVEN)
    assert caught[0].filename == __file__
    assert_array_equal(selector.sample_indices_, expected.sample_indices_)
    assert selector.n_iter_ == 1
    for name in ("memorization_", "forgetting_", "clean_proba_"):
        assert_array_equal(getattr(selector, name), getattr(expected, name))
    losses = [clf.net_.history[:, "train_loss"] for clf in (selector, expected)]
    assert losses[0] == losses[1]


class Interrupts(nn.Linear):
    """Raises KeyboardInterrupt in a forward pass of the second network that is trained."""

    made: int = 0

    def __init__(self, n_features, n_classes):
        super().__init__(n_features, n_classes)
        Interrupts.made += 1
        self.number = Interrupts.made

    def forward(self, x):
        if self.number == 2 and self.training:
            raise KeyboardInterrupt
        return super().forward(x)


def test_ctrl_c_in_the_check_of_the_labels():
    """The first network is that of round 1, the second that of the check."""
    Interrupts.made = 0
    selector = quick(module=Interrupts, standardize=True, stopping=False)
    message = (
        "round 1 of 4, the check of the labels, after 0 of .*; the selection is that of round 1"
    )
    with pytest.warns(InterruptedFitWarning, match=message):
        selector.fit(X, GIVEN)
    assert Interrupts.made == 2
    assert selector.n_iter_ == 1
    assert len(selector.sample_indices_) == kept(selector)[0]


# --- input that cannot be used ------------------------------------------------------------------


def test_infinity_in_X():
    bad = X.copy()
    bad[3, 2] = np.inf
    with pytest.raises(ValueError, match="Input X contains inf"):
        quick().fit(bad, GIVEN)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, words("CleanSampleSelector", "requires y", "None")),
        (GIVEN[:-1], words("[180, 179]", "one label for each row")),
        (GIVEN + 0.5, words("Unknown label type: continuous")),
        (np.zeros(len(X)), words("one class", "at least 2 classes")),
        (np.where(RIGHT, GIVEN, np.nan), words("Input y contains", "NaN", "every row needs")),
    ],
    ids=["None", "length", "continuous", "one class", "NaN"],
)
def test_y_that_cannot_be_used(y, message):
    for method in ("fit", "fit_resample"):
        with pytest.raises(ValueError, match=message):
            getattr(quick(), method)(X, y)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones(179, bool), words("shape (179,)", "shape (180,)", "one entry per row")),
        (np.arange(5), words("clean_mask must be boolean", "int64", "mask[indices] = True")),
        (GIVEN == 1, words("class [0, 2]", "trust at least one row", "clean_mask=None")),
    ],
    ids=["length", "indices", "classes"],
)
def test_bad_clean_masks(mask, message):
    with pytest.raises(ValueError, match=message):
        quick().fit(X, GIVEN, clean_mask=mask)


def test_a_fit_that_fails_leaves_nothing_fitted():
    selector = quick().fit(X, GIVEN)
    with pytest.raises(ValueError, match="one label for each row"):
        selector.fit(X, GIVEN[:5])
    with pytest.raises(ValueError, match="device='nowhere'"):
        selector.set_params(device="nowhere").fit(X, GIVEN)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("metric", "margin"),
        ("threshold", "density"),
        ("stopping", "bic"),
        ("min_memorized", 1.5),
        ("n_rounds", 0),
        ("min_per_class", 0),
        ("reset", 2),
        ("n_warmup_epochs", -1),
        ("max_epochs", 0),
        ("batch_size", 1),
    ],
)
def test_values_that_are_not_taken(name, value):
    message = words(f"The {name!r} parameter of CleanSampleSelector must be", f"Got {value!r}")
    with pytest.raises(InvalidParameterError, match=message):
        quick(**{name: value}).fit(X, GIVEN)
    assert isinstance(CleanSampleSelector(**{name: value}), CleanSampleSelector)
