"""ELRClassifier: the regulariser, the memory of predictions and the two networks of ELR+."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback
from small_family import noisy_blobs
from torch import nn
from torch.testing import assert_close

from sknoisy import ELRClassifier
from sknoisy.base import NetworkClassifier
from sknoisy.meta import BatchOutputs
from sknoisy.meta.models import per_sample_loss
from sknoisy.methods.elr import EarlyLearningLoss

X, Y, TRUSTED = noisy_blobs()
SMALL = {"max_epochs": 4, "batch_size": 32, "random_state": 0, "module_params": {"hidden": (8,)}}
ROWS = torch.arange(5)


def small(**parameters):
    return ELRClassifier(**{**SMALL, **parameters})


def loss_of(n=5, *, decay=0.7, weight=3.0):
    return EarlyLearningLoss(n, 3, memory_decay=decay, reg_weight=weight).double()


def outputs_of(logits, rows=ROWS, trusted=None):
    return BatchOutputs(logits, None, rows % 3, trusted=trusted, rows=rows)


def random_logits(n=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=generator, dtype=torch.float64)


# --- the loss -----------------------------------------------------------------------------------


def test_without_weight_it_is_cross_entropy():
    logits = random_logits()
    assert_close(
        loss_of(weight=0.0)(outputs_of(logits)), per_sample_loss(logits, ROWS % 3), rtol=0, atol=0
    )


def test_without_weight_training_is_plain():
    plain = NetworkClassifier(**SMALL).fit(X, Y)
    assert_array_equal(small(reg_weight=0.0).fit(X, Y).predict_proba(X), plain.predict_proba(X))


def test_gradient_of_the_regulariser_by_finite_differences():
    loss, logits = loss_of(), random_logits().requires_grad_()
    targets = 0.8 * random_logits(seed=1).softmax(dim=1)
    assert torch.autograd.gradcheck(lambda z: loss.regularizer(z, targets), logits)


def test_gradient_of_the_regulariser_by_its_formula():
    """- lambda p_k (t_k - <t, p>) / (1 - <t, p>), where no probability is clipped."""
    loss, logits = loss_of(weight=2.0), random_logits().requires_grad_()
    targets = 0.8 * random_logits(seed=1).softmax(dim=1)
    loss.regularizer(logits, targets).sum().backward()
    p = logits.detach().softmax(dim=1)
    agreement = (targets * p).sum(dim=1, keepdim=True)
    assert_close(logits.grad, -2 * p * (targets - agreement) / (1 - agreement))


def test_the_regulariser_is_finite_for_predictions_and_targets_of_one_class():
    logits = (200 * torch.eye(3, dtype=torch.float64)).requires_grad_()
    losses = loss_of().regularizer(logits, torch.eye(3, dtype=torch.float64))
    losses.sum().backward()
    assert losses.isfinite().all()
    assert logits.grad.isfinite().all()


def test_the_memory_is_a_constant_for_the_network():
    """The gradient is that of the loss with the updated targets fixed."""
    loss, logits = loss_of(decay=0.0), random_logits().requires_grad_()
    loss(outputs_of(logits)).sum().backward()
    again = logits.detach().clone().requires_grad_()
    expected = per_sample_loss(again, ROWS % 3) + loss.regularizer(again, loss.memory)
    expected.sum().backward()
    assert_close(logits.grad, again.grad, rtol=0, atol=0)


# --- the memory ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5])
def test_rows_of_the_memory_sum_to_one_less_the_power_of_the_decay(n):
    loss = loss_of(decay=0.7)
    for visit in range(n):
        loss(outputs_of(random_logits(seed=visit)))
    assert_close(loss.memory.sum(dim=1), torch.full((5,), 1 - 0.7**n, dtype=torch.float64))
    assert (loss.memory >= 0).all()


def test_without_decay_the_memory_is_the_prediction():
    loss, logits = loss_of(decay=0.0), random_logits()
    loss(outputs_of(logits))
    assert_close(loss.memory, logits.softmax(dim=1))


def test_only_the_rows_of_the_batch_are_updated():
    loss, rows = loss_of(9), torch.tensor([7, 1])
    loss(outputs_of(random_logits(2), rows))
    assert loss.memory.any(dim=1).nonzero()[:, 0].tolist() == [1, 7]


def test_the_target_of_a_trusted_row_is_its_label():
    loss, trusted = loss_of(), torch.tensor([True, False, False, True, False])
    loss(outputs_of(random_logits(), trusted=trusted))
    assert_close(loss.memory[trusted], torch.eye(3, dtype=torch.float64)[(ROWS % 3)[trusted]])
    assert (loss.memory[~trusted].sum(dim=1) < 0.31).all()


def test_after_training_the_memory_contradicts_most_wrong_labels():
    found = []
    for seed in range(3):
        rows, y, _ = noisy_blobs(n=300, seed=seed)
        truth = noisy_blobs(n=300, rate=0.0, seed=seed)[1]
        clf = small(max_epochs=15, lr=0.1, random_state=seed).fit(rows, y)
        memory = clf.net_.criterion_.row_loss.memory
        found.append((memory.argmax(dim=1).numpy() == truth)[y != truth].mean())
    assert np.mean(found) > 0.8


# --- ELR+ ---------------------------------------------------------------------------------------


def linear(**parameters):
    """ELR+ of two equal linear networks in one batch per epoch."""
    torch.manual_seed(0)
    same = nn.Linear(6, 3)
    settings = {"module": same, "module_params": None, "batch_size": len(Y), "plus": True}
    return small(**{**settings, **parameters})


def test_the_teacher_of_the_other_network_fills_the_memory():
    """In the first epoch it is the start: of the other network, on rows that are not mixed."""
    clf = linear(max_epochs=1, standardize=False, memory_decay=0.0).fit(X, Y)
    torch.manual_seed(0)
    with torch.no_grad():
        start = nn.Linear(6, 3)(torch.from_numpy(X).float()).softmax(dim=1)
    assert_close(clf.nets_[0].criterion_.row_loss.memory, start)
    stepped = clf.nets_[0].module_  # the first network has made its step when the second one asks
    with torch.no_grad():
        later = stepped(torch.from_numpy(X).float()).softmax(dim=1)
    assert_close(clf.nets_[1].criterion_.row_loss.memory, later)


def test_without_mixing_and_regularisation_both_networks_are_plain():
    clf = small(plus=True, mixup_alpha=0.0, reg_weight=0.0, module_params={"hidden": (8,)})
    clf.fit(X, Y)
    plain = NetworkClassifier(**SMALL).fit(X, Y)
    states = clf.nets_[0].module_.state_dict(), plain.net_.module_.state_dict()
    assert_close(*states)


def test_inputs_labels_and_targets_are_mixed_alike(monkeypatch):
    """The loss of the net is that of the mixtures, computed by hand."""
    module = "sknoisy.methods.elr"
    monkeypatch.setattr(f"{module}.mixing_share", lambda alpha, random: 0.7)
    monkeypatch.setattr(
        f"{module}.row_order", lambda n, generator, device: torch.arange(n).flip(0)
    )
    clf = linear(max_epochs=1, standardize=False, memory_decay=0.5, callbacks=[("spy", Order())])
    clf.fit(X, Y)
    torch.manual_seed(0)
    start, order = nn.Linear(6, 3), dict(clf.net_.callbacks_)["spy"].rows_
    rows, labels = torch.from_numpy(X).float()[order], torch.eye(3)[torch.from_numpy(Y)[order]]
    with torch.no_grad():
        targets = 0.5 * start(rows).softmax(dim=1)
        rows, labels, targets = (0.7 * v + 0.3 * v.flip(0) for v in (rows, labels, targets))
        logits = start(rows)
        losses = -(labels * logits.log_softmax(dim=1)).sum(dim=1)
        losses += 3.0 * torch.log(1 - (targets * logits.softmax(dim=1)).sum(dim=1))
    assert clf.history_[0, "train_loss"] == pytest.approx(losses.mean().item(), rel=1e-4)


class Order(Callback):
    """Keep the row numbers of the last batch."""

    def on_batch_end(self, net, batch=None, **kwargs):
        self.rows_ = batch.rows


# --- the parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("other", [{"memory_decay": 0.1}, {"reg_weight": 1.0}])
def test_each_parameter_has_an_effect(plus, other):
    expected, found = (small(plus=plus, **p).fit(X, Y) for p in ({}, other))
    assert not np.array_equal(expected.predict_proba(X), found.predict_proba(X))


def test_mixing_has_an_effect_in_elr_plus_alone():
    for plus in (False, True):
        found = [small(plus=plus, mixup_alpha=a).fit(X, Y).predict_proba(X) for a in (0.0, 1.0)]
        assert np.array_equal(*found) is not plus


def test_images_are_mixed_and_tables_are_not():
    images = np.random.default_rng(0).normal(size=(len(Y), 8, 8, 1))
    settings = {"plus": True, "max_epochs": 1, "module_params": None}
    assert small(**settings).fit(images, Y).mixup_alpha_ == 1
    assert small(**settings).fit(X, Y).mixup_alpha_ == 0


def test_elr_plus_trains_two_networks_and_elr_one():
    assert [len(small(plus=plus).fit(X, Y).nets_) for plus in (False, True)] == [1, 2]


@pytest.mark.parametrize(
    "wrong", [{"memory_decay": 1.0}, {"reg_weight": -1.0}, {"mixup_alpha": -0.1}, {"plus": "yes"}]
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        small(**wrong).fit(X, Y)


def test_the_average_of_elr_plus_is_its_own(blobs):
    X, y = blobs
    with pytest.raises(ValueError, match=r"weight_average=0.9 has no place in ELR\+"):
        ELRClassifier(plus=True, weight_average=0.9).fit(X, y)
    clf = ELRClassifier(plus=True, n_ensemble=2, max_epochs=4, random_state=0).fit(X, y)
    assert len(clf._members.networks) == 4  # two epochs of each average


def test_images_are_held_to_their_predictions_less_than_tables(images):
    assert small().fit(X, Y).reg_weight_ == 3.0
    assert ELRClassifier(max_epochs=1, random_state=0).fit(*images).reg_weight_ == 1.0
