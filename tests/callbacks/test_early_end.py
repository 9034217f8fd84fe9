"""Training that ends early: by a loss that is not finite, or by Ctrl-C."""

import pickle
import re
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback, EarlyStopping
from torch import nn

from sknoisy.exceptions import InterruptedFitWarning, NonFiniteLossError


def words(*parts):
    """A pattern that finds the parts in this order."""
    return "(?s)" + ".*".join(map(re.escape, parts))


# --- a loss that is not finite ------------------------------------------------------------------


class LearningRate(Callback):
    """Set another learning rate from an epoch on."""

    def __init__(self, epoch, lr):
        self.epoch, self.lr = epoch, lr

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) >= self.epoch:
            net.optimizer_.param_groups[0]["lr"] = self.lr


class States(Callback):
    """Copies of the network's state after each epoch."""

    def on_train_begin(self, net, **kwargs):
        self.states = []

    def on_epoch_end(self, net, **kwargs):
        self.states.append({k: v.clone() for k, v in net.module_.state_dict().items()})


@pytest.mark.parametrize(
    ("method", "batch"), [({}, 1), ({"weighting": "vri"}, 1), ({"weighting": None}, 2)]
)
def test_loss_that_is_not_finite(quick, blobs, method, batch):
    """A step of 1e30 makes the logits overflow: the virtual or the actual step of batch 1."""
    states = States()
    clf = quick(lr_schedule="constant", callbacks=[LearningRate(3, 1e30), states], **method)
    message = rf"became (nan|inf) in epoch 3, batch {batch}, at learning rate 1e\+30\. Lower lr"
    with pytest.raises(NonFiniteLossError, match=message) as caught:
        clf.fit(*blobs)
    kept = caught.value.last_finite_state
    assert kept.keys() == states.states[1].keys()
    for name, tensor in states.states[1].items():
        torch.testing.assert_close(kept[name], tensor, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:n_warmup_epochs=1 leaves none of the 1 epochs")
@pytest.mark.parametrize("method", [{}, {"weighting": "vri"}, {"weighting": None}])
def test_last_step_that_ruins_the_network(quick, blobs, method):
    """With one batch and one epoch of plain steps, no loss is computed after the step."""
    clf = quick(lr=1e30, max_epochs=1, batch_size=200, n_warmup_epochs=1, **method)
    message = words("logits became NaN or infinite in epoch 1, batch 1", "1e+30", "Lower lr")
    with pytest.raises(NonFiniteLossError, match=message) as caught:
        clf.fit(*blobs)
    assert all(tensor.abs().max() < 10 for tensor in caught.value.last_finite_state.values())


def test_a_fit_that_failed_leaves_no_half_fitted_estimator(quick, blobs):
    X, y = blobs
    clf = quick(max_epochs=1).fit(X, y)
    with pytest.raises(NonFiniteLossError):
        clf.set_params(lr=1e30, max_epochs=3).fit(X, y)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        clf.predict(X)


# --- Ctrl-C -------------------------------------------------------------------------------------


class CtrlC(Callback):
    """Interrupt an epoch (from 1) at an event."""

    def __init__(self, epoch, event):
        self.epoch, self.event = epoch, event

    def _press(self, event, net):
        if len(net.history) == self.epoch and event == self.event:
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
@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("method", [{}, {"weighting": "vri"}, {"weighting": None}])
def test_interrupted_fit_leaves_a_usable_estimator(quick, blobs, method, epoch, event):
    X, y = blobs
    clf = quick(lr_schedule="constant", callbacks=[CtrlC(epoch, event)], **method)
    done = epoch if event == "epoch end" else epoch - 1
    with pytest.warns(InterruptedFitWarning, match=f"after {done} of 4 epochs") as caught:
        clf.fit(X, y)
    lines = [w.filename for w in caught if w.category is InterruptedFitWarning]
    assert lines == [__file__]  # the user's line
    assert clf.n_iter_ == len(clf.history_[:, "train_loss"] if done else []) == done
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1)
    if done == 3:
        assert clf.ensemble_epochs_ in ([2, 3], [3, 2])
        shorter = quick(max_epochs=3, lr_schedule="constant", **method).fit(X, y)
        np.testing.assert_array_equal(clf.predict_proba(X), shorter.predict_proba(X))
    else:  # no epoch after the warm-up is complete, so the last state is used
        assert clf.ensemble_epochs_ == [done]


class InterruptedForward(nn.Module):
    """Network that interrupts its n-th forward pass, counted over all copies."""

    calls_left = 0

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x):
        InterruptedForward.calls_left -= 1
        if InterruptedForward.calls_left == 0:
            raise KeyboardInterrupt
        return self.layers(x)


@pytest.mark.parametrize("call", [*range(2, 6), *range(10, 20)])
def test_interruption_within_any_pass_of_a_meta_step(quick, blobs, call):
    """No mode or parameter stays swapped after an interruption in any pass of a step."""
    X, y = blobs
    InterruptedForward.calls_left = call
    with pytest.warns(InterruptedFitWarning):
        clf = quick(module=InterruptedForward).fit(X, y)
    trained = clf.net_.optimizer_.param_groups[0]["params"]
    assert [*map(id, clf.net_.module_.parameters())] == [*map(id, trained)]
    again = [quick(module=InterruptedForward).fit(X, y).predict_proba(X) for _ in range(2)]
    np.testing.assert_array_equal(*again)
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1)


def test_interrupted_fit_can_be_pickled_and_fitted_again(quick, blobs):
    X, y = blobs
    clf = quick(callbacks=[CtrlC(2, "gradient")])
    with pytest.warns(InterruptedFitWarning):
        clf.fit(X, y)
    copied = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(copied.predict_proba(X), clf.predict_proba(X))
    clf.set_params(callbacks=None).fit(X, y)
    np.testing.assert_array_equal(clf.predict_proba(X), quick().fit(X, y).predict_proba(X))


def test_early_stopping_of_skorch_is_no_interruption(quick, blobs):
    """It raises a KeyboardInterrupt, but not by the user. No loss falls by 1e9."""
    X, y = blobs
    stopping = EarlyStopping("train_loss", patience=2, threshold=1e9, threshold_mode="abs")
    with warnings.catch_warnings():
        warnings.simplefilter("error", InterruptedFitWarning)
        clf = quick(callbacks=[stopping], max_epochs=9).fit(X, y)
    assert clf.n_iter_ == 3
    assert clf.ensemble_epochs_ in ([2, 3], [3, 2])
