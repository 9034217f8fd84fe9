"""FixMatch and FlexMatch: each term of the loss, the epoch, and the thresholds of the classes."""

import pickle

import pytest
import torch
from numpy.testing import assert_allclose
from semi_supervised_nets import (
    LABELED,
    UNLABELED,
    N,
    Steps,
    build,
    fitted,
    make_module,
    same_weights,
    unit_data,
    weights_of,
)
from skorch.callbacks import Callback
from torch.nn import functional as F

from sknoisy._engine.net import DeviceNet
from sknoisy.methods.semi_supervised import FixMatchNet, FlexMatchNet
from sknoisy.methods.semi_supervised.fixmatch import flexible_thresholds

NETS = pytest.mark.parametrize("cls", [FixMatchNet, FlexMatchNet])
LOW = 0.515  # some of the first predictions reach it, and some do not


def weak(X, generator):
    return 2 * X


def strong(X, generator):
    return X + 0.3


def view_data(**extra):
    """Return unit vectors with a weak and a strong view; the labels of some rows are not read."""
    data = unit_data(augment=weak, **extra)
    data.strong_augment = strong
    return data.only(LABELED)


def expected_loss(
    module, data, threshold, *, weight=1.0, unlabeled=UNLABELED, of_labeled=F.cross_entropy
):
    """Return the loss of all rows by the definition, with its graph."""
    X = data.rows.tensor
    with torch.no_grad():
        probabilities = module(2 * X[unlabeled]).softmax(1)
    loss = of_labeled(module(2 * X[LABELED]), data.targets[LABELED])
    for row, p in zip(unlabeled.tolist(), probabilities, strict=True):
        label, confidence = p.argmax(), p.max()
        if data.trusted is not None and data.trusted[row]:
            label, confidence = data.targets[row], 1.0
        if confidence >= threshold:
            own = 1.0 if data.sample_weight is None else data.sample_weight[row]
            logits = module(X[row : row + 1] + 0.3)
            term = own * F.cross_entropy(logits, label[None])
            loss = loss + weight * term / len(unlabeled)
    return loss


def loss_of_one_step(net):
    return net.history[0, "train_loss"]


# --- the loss ------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.0, LOW, 1.0])
def test_the_step_is_that_of_the_definition(threshold):
    data = view_data()
    net = fitted(FixMatchNet, data=data, threshold=threshold, unlabeled_weight=1.7)
    module = make_module()
    loss = expected_loss(module, data, threshold, weight=1.7)
    loss.backward()
    with torch.no_grad():
        for p in module.parameters():
            p -= 0.1 * p.grad
    assert_allclose(loss_of_one_step(net), loss.item(), rtol=1e-7)
    assert_allclose(weights_of(net.module_), weights_of(module), rtol=1e-6, atol=1e-9)


def test_the_threshold_divides_the_first_predictions():
    """Else the test above would not test the threshold."""
    confidence = make_module()(2 * unit_data().rows.tensor[UNLABELED]).softmax(1).amax(1)
    assert 0 < (confidence >= LOW).sum() < len(UNLABELED)


@pytest.mark.parametrize(
    ("cls", "params"),
    [
        (FixMatchNet, {"unlabeled_weight": 0.0}),
        (FlexMatchNet, {"unlabeled_weight": 0.0}),
        (FixMatchNet, {"threshold": 1.0}),
    ],
)
def test_without_pseudo_labels_it_is_cross_entropy(cls, params):
    settings = {"lr": 0.3, "max_epochs": 5}
    net = fitted(cls, data=view_data(), **params, **settings)
    assert same_weights(net, fitted(DeviceNet, data=view_data(), **settings))


@NETS
def test_labels_of_rows_without_labels_are_not_read(cls):
    y = torch.arange(N) % 3
    changed = torch.where(torch.arange(N) >= len(LABELED), 2 - y, y)
    first, second = (
        fitted(cls, data=view_data(y=labels), threshold=LOW, max_epochs=3)
        for labels in (y, changed)
    )
    assert same_weights(first, second)


def test_sample_weights_multiply_the_terms():
    weights = torch.linspace(0.2, 1.8, N, dtype=torch.float64)
    data = view_data(sample_weight=weights)
    net = fitted(FixMatchNet, data=data, threshold=0.0)

    def of_labeled(logits, y):
        losses = F.cross_entropy(logits, y, reduction="none")
        return (weights[LABELED] * losses).mean()

    loss = expected_loss(make_module(), data, 0.0, of_labeled=of_labeled)
    assert_allclose(loss_of_one_step(net), loss.item(), rtol=1e-7)


def test_trusted_rows_keep_their_labels_whatever_is_predicted():
    trusted = torch.arange(N) >= len(LABELED) + 2
    data = view_data(trusted=trusted)
    net = fitted(FixMatchNet, data=data, threshold=1.0)
    loss = expected_loss(make_module(), data, 1.0)
    assert_allclose(loss_of_one_step(net), loss.item(), rtol=1e-7)
    assert loss > expected_loss(make_module(), view_data(), 1.0) + 0.1


@NETS
def test_the_criterion_and_its_guide_see_the_rows_with_labels_alone(cls):
    seen = []

    def nothing(batch):
        seen.append(batch.rows)
        return 0 * batch.logits.sum(1)

    data = view_data()
    net = fitted(cls, data=data, threshold=0.0, criterion__row_loss=nothing)
    loss = expected_loss(make_module(), data, 0.0, of_labeled=lambda logits, y: 0)
    assert_allclose(loss_of_one_step(net), loss.item(), rtol=1e-7)
    assert torch.equal(torch.cat(seen).sort().values, LABELED)


def test_logits_that_a_callback_shares_are_used():
    class Share(Callback):
        def on_batch_begin(self, net, batch=None, training=None, **kwargs):
            net.share_logits(0 * net.module_(batch[0]))

    net = fitted(FixMatchNet, data=view_data(), threshold=1.0, callbacks=[Share()])
    assert_allclose(loss_of_one_step(net), torch.tensor(3.0).log().item(), rtol=1e-6)


def test_guesses_are_made_without_dropout_and_batch_statistics():
    module = make_module(torch.nn.BatchNorm1d(6).double(), torch.nn.Dropout(0.5))
    steps = Steps()
    fitted(FixMatchNet, module, view_data(), callbacks=[steps])
    assert torch.equal(steps.aside[0].sort(0).values, 2 * torch.eye(N)[UNLABELED].sort(0).values)
    assert [len(X) for X in steps.in_training] == [12, 8]


# --- the epoch -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch_size", "ratio", "labeled", "unlabeled"),
    [
        (4, 1, [4, 4, 4], [4, 4, 4]),  # three batches of labels, two of the others
        (2, 1, [2] * 6, [2] * 6),
        (6, 1, [6, 6], [6, 6]),
        (3, 2, [3] * 4, [6] * 4),
    ],
)
def test_each_step_has_rows_of_both_kinds(batch_size, ratio, labeled, unlabeled):
    steps = Steps()
    settings = {"batch_size": batch_size, "unlabeled_ratio": ratio, "callbacks": [steps]}
    fitted(FixMatchNet, data=view_data(), **settings)
    assert [len(X) for X in steps.in_training[::2]] == labeled
    assert [len(X) for X in steps.in_training[1::2]] == unlabeled


def test_few_labels_are_repeated_until_all_other_rows_were_used():
    steps = Steps()
    rows = torch.arange(N)
    data = view_data().only(torch.arange(4))
    fitted(FixMatchNet, data=data, unlabeled=rows, batch_size=5, callbacks=[steps])
    with_labels, without = steps.in_training[::2], steps.in_training[1::2]
    assert [len(X) for X in with_labels] == [4] * 4
    assert torch.equal(torch.cat(without).argmax(1).sort().values, rows)
    for X in with_labels:
        assert torch.equal(X.argmax(1).sort().values, torch.arange(4))


@NETS
def test_a_pickle_holds_no_rows_and_trains_on_as_the_net(cls):
    net = fitted(cls, data=view_data(), threshold=LOW)
    copy = pickle.loads(pickle.dumps(net))
    assert same_weights(net, copy)
    assert [copy._source, net._source] == [None, None]
    for other in (net, copy):
        other.partial_fit(view_data())
    assert same_weights(net, copy)


# --- FlexMatch -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "shares"),
    [
        ([0, 0, 0, 20], [0, 0, 0]),  # at the beginning
        ([5, 5, 5, 0], [1, 1, 1]),  # as FixMatch
        ([8, 4, 2, 6], [1, 1 / 3, 1 / 7]),
        ([2, 1, 0, 17], [2 / 32, 1 / 33, 0]),  # most rows remember none
    ],
)
def test_thresholds_follow_the_progress_of_the_classes(counts, shares):
    found = flexible_thresholds(torch.tensor(counts), 0.9)
    torch.testing.assert_close(found, 0.9 * torch.tensor(shares, dtype=torch.float32))


def test_rows_remember_their_last_confident_class():
    net = build(FlexMatchNet, threshold=0.8).initialize()
    net.on_train_begin(net, X=view_data())
    rows = torch.arange(12, 17)
    labels = torch.tensor([0, 0, 1, 2, 1])
    first = net._thresholds(rows, labels, torch.tensor([0.9, 0.8, 0.9, 0.5, 0.7]))
    assert first.tolist() == [0] * 5
    assert net._counts.tolist() == [2, 1, 0, 5]
    # The thresholds of a batch are those before it; 5 rows of 8 remember none.
    second = net._thresholds(rows, 1 - labels.clamp(max=1), torch.tensor([0.1, 0.9, 0.9, 0, 0]))
    of_class = flexible_thresholds(torch.tensor([2, 1, 0, 5]), 0.8)
    torch.testing.assert_close(second, of_class[[1, 1, 0, 0, 0]])
    assert net._counts.tolist() == [2, 1, 0, 5]
    assert net._remembered[rows].tolist() == [0, 1, 0, 3, 3]
    net.on_train_end(net, X=view_data())
    assert net._remembered is None


def test_flexible_thresholds_change_what_is_learned():
    settings = {"data": view_data(), "threshold": LOW, "max_epochs": 3}
    assert not same_weights(fitted(FixMatchNet, **settings), fitted(FlexMatchNet, **settings))
