"""MLNT: trainings that end early, by Ctrl-C or by a loss that is not finite."""

import pickle

import numpy as np
import pytest
from skorch.callbacks import Callback, EarlyStopping
from small_family import noisy_blobs
from small_mlnt import Ramp
from torch import nn

from sknoisy import MLNTClassifier
from sknoisy.exceptions import InterruptedFitWarning, NonFiniteLossError
from sknoisy.methods.mlnt import LabelTransfer, ToleranceGradient

X, Y, _ = noisy_blobs()
pytestmark = pytest.mark.filterwarnings("ignore:The mentor believes hardly any label")


def small(**parameters):
    settings = {"max_epochs": 3, "batch_size": 32, "n_synthetic": 2}
    settings["transfer"] = LabelTransfer(n_pretrain_epochs=2)
    settings |= {"random_state": 0, "lr_schedule": "constant", "callbacks": [Ramp(1.0)]}
    if "module" not in parameters:
        settings["module_params"] = {"hidden": (8,)}
    return MLNTClassifier(**{**settings, **parameters})


class CtrlC(Callback):
    """Interrupt an epoch (from 1) of a training (from 1) at an event."""

    def __init__(self, training, epoch, event):
        self.training, self.epoch, self.event = training, epoch, event
        self.count = 0

    def on_train_begin(self, net, **kwargs):
        self.count += 1

    def _press(self, event, net):
        if (self.count, len(net.history), event) == (self.training, self.epoch, self.event):
            raise KeyboardInterrupt

    def on_epoch_begin(self, net, **kwargs):
        self._press("epoch begin", net)

    def on_batch_begin(self, net, **kwargs):
        self._press("batch begin", net)

    def on_grad_computed(self, net, **kwargs):
        self._press("gradient", net)

    def on_epoch_end(self, net, **kwargs):
        self._press("epoch end", net)


@pytest.mark.parametrize("event", ["epoch begin", "batch begin", "gradient", "epoch end"])
@pytest.mark.parametrize("joint", [False, True], ids=["separate", "joint"])
@pytest.mark.parametrize("epoch_selection", ["last", "agreement"])
def test_interrupted_first_iteration(event, joint, epoch_selection):
    settings = {"gradient": ToleranceGradient(joint=joint), "epoch_selection": epoch_selection}
    for epoch in (1, 3):
        done = epoch if event == "epoch end" else epoch - 1
        clf = small(callbacks=[CtrlC(1, epoch, event), Ramp(1.0)], n_iterations=2, **settings)
        with pytest.warns(InterruptedFitWarning, match=f"after {done} of 3 epochs;") as caught:
            clf.fit(X, Y)
        lines = [w.filename for w in caught if w.category is InterruptedFitWarning]
        assert lines == [__file__]  # the user's line
        assert clf.n_iter_ == done
        assert clf.n_iterations_ == 0
        assert not hasattr(clf, "kept_rows_")
        np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1)
    if event == "epoch begin":  # two whole epochs: the same as that many
        settings["teacher_decay"] = 0.5
        shorter = small(max_epochs=2, **settings).fit(X, Y)
        np.testing.assert_array_equal(clf.predict_proba(X), shorter.predict_proba(X))


def test_interrupted_later_iteration_leaves_the_mentor():
    clf = small(callbacks=[CtrlC(2, 2, "gradient"), Ramp(1.0)], n_iterations=3)
    message = "in iteration 2 of 3, after 1 of 3 epochs; the network of iteration 1 predicts"
    with pytest.warns(
        InterruptedFitWarning,
        match=message,
    ):
        clf.fit(X, Y)
    assert (clf.n_iterations_, clf.n_iter_) == (1, 3)
    mentor = small().fit(X, Y)
    np.testing.assert_array_equal(clf.predict_proba(X), mentor.predict_proba(X))
    copied = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(copied.predict_proba(X), clf.predict_proba(X))
    again = clf.set_params(callbacks=[Ramp(1.0)], n_iterations=1).fit(X, Y)
    np.testing.assert_array_equal(again.predict_proba(X), mentor.predict_proba(X))


class InterruptedForward(nn.Module):
    """A network that interrupts its own n-th forward pass, counted over all copies."""

    calls_left = 0

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x):
        InterruptedForward.calls_left -= 1
        if InterruptedForward.calls_left == 0:
            raise KeyboardInterrupt
        return self.layers(x)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("call", [3, 7, *range(14, 36, 3), 40, 41, 42, 43])
def test_interruption_within_any_pass(call, batched):
    """The pretraining's, the teacher's, the meta step's and the actual one: nothing is swapped."""
    settings = {"module": InterruptedForward, "gradient": ToleranceGradient(batched=batched)}
    InterruptedForward.calls_left = call
    with pytest.warns(InterruptedFitWarning):
        clf = small(**settings).fit(X, Y)
    trained = clf.net_.optimizer_.param_groups[0]["params"]
    assert [*map(id, clf.net_.module_.parameters())] == [*map(id, trained)]
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1)
    again = [small(**settings).fit(X, Y).predict_proba(X) for _ in range(2)]
    np.testing.assert_array_equal(*again)


def test_interrupted_pretraining_leaves_its_network():
    InterruptedForward.calls_left = 9  # two passes of checks, then four batches an epoch
    with pytest.warns(InterruptedFitWarning, match="after 1 of 2 epochs;"):
        clf = small(module=InterruptedForward).fit(X, Y)
    assert (clf.n_iterations_, clf.n_iter_, clf.predicts_with_) == (0, 1, "student")
    assert clf.history_ is clf.net_.history


def test_early_stopping_of_skorch_ends_an_iteration_only():
    stopping = EarlyStopping("train_loss", patience=2, threshold=1e9, threshold_mode="abs")
    clf = small(callbacks=[stopping, Ramp(1.0)], max_epochs=9, n_iterations=2).fit(X, Y)
    assert clf.n_iter_ == clf.best_epoch_ == 3
    assert clf.n_iterations_ == 2


@pytest.mark.parametrize("settings", [{"lr": 1e30}, {"meta_lr": 1e30}, {"inner_lr": 1e30}])
def test_loss_that_is_not_finite(settings):
    with pytest.raises(NonFiniteLossError, match=r"Lower lr \(or meta_lr"):
        small(transfer="rows", **settings).fit(X, Y)
