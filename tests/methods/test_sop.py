"""SOPClassifier: the corrections of the rows, their steps, and the terms of SOP+."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from small_family import noisy_blobs
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from sknoisy import SOPClassifier
from sknoisy.base import NetworkClassifier
from sknoisy.meta import BatchOutputs
from sknoisy.methods.sop import SparseCorrectionLoss, auto_lr_v, consistency

X, Y, TRUSTED = noisy_blobs()
SMALL = {"max_epochs": 4, "batch_size": 32, "random_state": 0, "module_params": {"hidden": (8,)}}
EPS = 1e-4


def small(**parameters):
    return SOPClassifier(**{**SMALL, **parameters})


def corrections(n, n_classes=3, *, u=None, v=None, lr_u=1.0, lr_v=1.0, **parameters):
    """The loss in float64, with given corrections."""
    loss = SparseCorrectionLoss(n, n_classes, lr_u=lr_u, lr_v=lr_v, **parameters).double()
    for values, given in ((loss.u, u), (loss.v, v)):
        if given is not None:
            values.copy_(torch.as_tensor(given, dtype=torch.float64))
    return loss


def outputs_of(logits, targets, rows=None, **extra):
    rows = torch.arange(len(logits)) if rows is None else rows
    return BatchOutputs(logits, None, torch.as_tensor(targets), rows=rows, **extra)


def random_logits(n=6, n_classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, n_classes, generator=generator, dtype=torch.float64)


TARGETS = torch.arange(6) % 3


def network_gradient(loss, logits, targets=TARGETS):
    logits = logits.clone().requires_grad_()
    loss(outputs_of(logits, targets)).mean().backward()
    return logits.grad


# --- the loss -----------------------------------------------------------------------------------


def test_at_the_start_it_is_cross_entropy_plus_twice_the_error_rate():
    logits = random_logits()
    is_wrong = logits.argmax(dim=1) != TARGETS
    assert 0 < is_wrong.sum() < 6
    losses = corrections(6)(outputs_of(logits, TARGETS))
    expected = F.cross_entropy(logits, TARGETS, reduction="none") + 2 * is_wrong
    assert_close(losses.detach(), expected)


def test_at_the_start_the_network_gets_the_gradient_of_cross_entropy():
    logits = random_logits()
    plain = logits.clone().requires_grad_()
    F.cross_entropy(plain, TARGETS).backward()
    assert_close(network_gradient(corrections(6), logits), plain.grad)


def test_a_full_correction_absorbs_a_wrong_prediction():
    """u = 1 and v = 1 at the predicted class make the squared error 0."""
    logits = torch.tensor([[0.0, 3.0, 0.0]], dtype=torch.float64)
    loss = corrections(1, u=[[1.0]], v=[[0.0, 1.0, 0.0]])
    p = logits.softmax(dim=1)[0]
    q = torch.stack([p[0] + 1, p[1] - 1, p[2]]).clamp(min=EPS)
    expected = -(q[0] / q.sum()).log()
    assert_close(loss(outputs_of(logits, [0]))[0].detach(), expected)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_network_gradient_is_that_of_cross_entropy_times_a_factor(strength):
    """p_y / (p_y + U), where V = 0."""
    logits = random_logits()
    loss = corrections(6, u=np.full((6, 1), math.sqrt(strength)), v=np.zeros((6, 3)))
    plain = logits.clone().requires_grad_()
    F.cross_entropy(plain, TARGETS).backward()
    p_y = logits.softmax(dim=1).gather(1, TARGETS[:, None])
    assert_close(network_gradient(loss, logits), plain.grad * p_y / (p_y + strength))


def test_network_gradient_by_finite_differences():
    loss = corrections(6, u=np.full((6, 1), 0.4), v=np.full((6, 3), 0.1))
    assert torch.autograd.gradcheck(
        lambda z: loss(outputs_of(z, TARGETS)), random_logits().requires_grad_()
    )


def test_corrected_predictions_are_floored_distributions():
    """All in [1e-4, 1]: no loss of any correction exceeds that of the floor."""
    logits = 50 * random_logits()
    for u, v in ((0.0, 0.0), (1.0, 1.0), (0.0, 2.0), (3.0, 0.5)):
        loss = corrections(6, u=np.full((6, 1), u), v=np.full((6, 3), v))
        squared = 2 * (logits.argmax(dim=1) != TARGETS)
        losses = loss(outputs_of(logits, TARGETS)).detach()
        assert (losses >= 0).all()
        assert (losses <= -math.log(EPS) + 2 * squared + 6).all()


# --- the steps of the corrections ---------------------------------------------------------------


def visit(loss, logits, targets, rows=None, **extra):
    logits = logits.clone().requires_grad_()
    losses = loss(outputs_of(logits, targets, rows, **extra))
    losses.mean().backward()
    loss.step()
    return logits.grad


def test_corrections_of_other_rows_and_of_the_given_class_keep_their_bits():
    loss = corrections(9, u=np.full((9, 1), 0.3), v=np.full((9, 3), 0.3))
    before = loss.u.clone(), loss.v.clone()
    rows = torch.tensor([7, 2, 4])
    visit(loss, random_logits(3), [0, 1, 2], rows)
    assert_array_equal((loss.u != before[0]).any(dim=1).nonzero()[:, 0], [2, 4, 7])
    assert (loss.v[rows] != before[1][rows]).any()
    others = torch.tensor([0, 1, 3, 5, 6, 8])
    assert torch.equal(loss.v[others], before[1][others])
    assert torch.equal(loss.v[rows, torch.arange(3)], before[1][rows, torch.arange(3)])


def test_cross_entropy_gives_no_gradient_to_v():
    """An agreeing row at v = 0 of all classes but one: only the squared error moves v."""
    logits = torch.tensor([[2.0, 0.0, 0.0]], dtype=torch.float64)
    v, lr = 0.2, 0.1
    loss = corrections(1, u=[[0.0]], v=[[0.0, v, 0.0]], lr_v=lr)
    visit(loss, logits, [0])
    assert_close(loss.v[0, 1].item(), v - lr * 4 * v**3)  # derivative of v^4


def test_v_grows_by_its_factor_at_each_visit_with_a_wrong_prediction():
    """1 + 4 lr / B, B = 128."""
    logits = torch.zeros(128, 3, dtype=torch.float64)
    logits[:, 1] = 1.0
    loss = corrections(128, u=np.zeros((128, 1)), lr_u=0.0, lr_v=10.0)
    for _ in range(10):
        visit(loss, logits, [0] * 128)
    assert_close(loss.v[:, 1] / 1e-8, torch.full((128,), 1.3125**10).double(), rtol=1e-4, atol=0)
    assert_close(loss.v[:, 2] / 1e-8, torch.ones(128).double(), rtol=1e-4, atol=0)


def test_overshot_corrections_are_frozen():
    logits = torch.tensor([[0.0, 3.0, 0.0]], dtype=torch.float64)
    loss = corrections(1, u=[[1.2]], v=[[0.0, 1.5, 0.0]])
    visit(loss, logits, [0])
    assert loss.u.item() == 1.2
    assert loss.v[0, 1].item() == 1.5


def test_corrections_decay_where_the_network_agrees():
    logits = torch.tensor([[40.0, 0.0, 0.0]], dtype=torch.float64)
    loss = corrections(1, u=[[0.5]], v=[[0.0, 0.5, 0.0]], lr_u=0.1, lr_v=0.1)
    visit(loss, logits, [0])
    assert 0 < loss.u.item() < 0.5
    assert 0 < loss.v[0, 1].item() < 0.5


def test_right_predictions_leave_the_corrections_at_their_start():
    logits = 10 * torch.eye(3, dtype=torch.float64)[TARGETS]
    loss = corrections(6, lr_u=10.0, lr_v=10.0)
    for _ in range(100):
        visit(loss, logits, TARGETS)
    assert max(loss.u.abs().max(), loss.v.abs().max()) < 1e-7


def test_trusted_rows_are_not_corrected():
    logits = torch.tensor([[0.0, 3.0, 0.0]] * 2, dtype=torch.float64)
    loss = corrections(2, u=[[0.5]] * 2, v=[[0.0, 0.5, 0.0]] * 2)
    gradient = visit(loss, logits, [0, 0], trusted=torch.tensor([True, False]))
    plain = logits.clone().requires_grad_()
    F.cross_entropy(plain, torch.tensor([0, 0])).backward()
    assert_close(gradient[0], plain.grad[0])
    assert not torch.allclose(gradient[1], plain.grad[1])
    assert loss.u[0].item() == 0.5
    assert loss.u[1].item() != 0.5


def test_corrections_follow_the_rows_and_not_their_order():
    loss, moved = corrections(6, lr_u=2.0, lr_v=2.0), corrections(6, lr_u=2.0, lr_v=2.0)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    for seed in range(8):
        logits = random_logits(seed=seed)
        visit(loss, logits, TARGETS)
        visit(moved, logits[order], TARGETS[order])  # the i-th row is order[i]
    assert_close(moved.u, loss.u[order])
    assert_close(moved.v, loss.v[order])


# --- training -----------------------------------------------------------------------------------


def test_without_steps_of_the_corrections_training_is_plain():
    """Up to the floor and the rounding of the normalisation."""
    clf = small(lr_u=0.0, lr_v=0.0).fit(X, Y)
    plain = NetworkClassifier(**SMALL).fit(X, Y)
    assert_close(
        clf.net_.module_.state_dict(), plain.net_.module_.state_dict(), rtol=1e-3, atol=1e-4
    )


def test_corrections_find_flipped_labels():
    """Two blobs, a fifth of the labels flipped, and a linear network."""
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.arange(200) % 2)
    rows = rng.normal(size=(200, 2)) + 4 * np.eye(2)[truth]
    flipped = rng.permutation(200) < 40
    y = np.where(flipped, 1 - truth, truth)
    clf = small(module=nn.Linear(2, 2), module_params=None, max_epochs=60, batch_size=50)
    clf.fit(rows, y)
    loss = clf.net_.criterion_.row_loss
    squared = loss.u[:, 0].square().numpy()
    assert squared[flipped].mean() > 10 * squared[~flipped].mean()
    labels = np.eye(2)[y]
    correction = squared[:, None] * labels - loss.v.square().numpy() * (1 - labels)
    assert ((labels - correction).argmax(axis=1) == truth)[flipped].mean() > 0.8


def test_corrections_have_no_schedule_momentum_or_decay():
    """A row whose prediction is fixed grows alike in every epoch of a cosine schedule."""
    frozen = nn.Linear(6, 3)
    nn.init.zeros_(frozen.weight)
    frozen.bias.data = torch.tensor([0.0, 5.0, 0.0])
    logs = []
    for epochs in (2, 4):
        clf = small(
            module=frozen, module_params=None, max_epochs=epochs, lr=1e-9, lr_u=0.0, lr_v=5.0
        )
        clf.fit(X, Y)
        of_first = clf.net_.criterion_.row_loss.v[torch.from_numpy(Y != 1), 1]
        logs.append((of_first / 1e-8).log().double())
    assert_close(logs[1].mean(), 2 * logs[0].mean(), rtol=1e-2, atol=0)


def test_the_step_size_of_v_corrects_a_row_within_its_epochs():
    """From 1e-8 to 1 by its factors, in steps of a batch of 100."""
    lr = auto_lr_v(100, 60)
    n_visits = math.log(1e8) / math.log(1 + 4 * lr / 100)
    assert n_visits == pytest.approx(_visits(60))
    assert auto_lr_v(200, 60) == pytest.approx(2 * lr)
    assert auto_lr_v(100, 120) < lr


def _visits(max_epochs):
    from sknoisy.methods import sop

    return sop._SWITCH_ON * max_epochs


# --- SOP+ ---------------------------------------------------------------------------------------


def test_consistency_of_equal_views_is_0_and_has_no_gradient():
    strong = random_logits().requires_grad_()
    divergence = consistency(random_logits(), strong)
    divergence.sum().backward()
    assert_close(divergence.detach(), torch.zeros(6).double())
    assert_close(strong.grad, torch.zeros(6, 3).double())


def test_consistency_moves_the_strong_view_towards_the_weak_one():
    weak, strong = random_logits().requires_grad_(), random_logits(seed=1).requires_grad_()
    consistency(weak, strong).mean().backward()
    assert weak.grad is None
    expected = (strong.softmax(dim=1) - weak.softmax(dim=1)).detach() / 6
    assert_close(strong.grad, expected)


def test_balance_is_smallest_for_the_prior():
    """The cross-entropy of the mean prediction with equal shares, log C at its minimum."""
    even = torch.zeros(6, 3, dtype=torch.float64)
    loss = corrections(6, balance_weight=1.0, u=np.zeros((6, 1)), v=np.zeros((6, 3)))
    assert _balance(loss, even) == pytest.approx(math.log(3))
    for seed in range(5):
        assert _balance(loss, random_logits(seed=seed)) > math.log(3)


def test_balance_is_that_of_the_corrected_predictions():
    logits = 3 * torch.eye(3, dtype=torch.float64)[[0, 0, 1, 1, 2, 2]]
    plain, pushed = (
        corrections(6, balance_weight=1.0, u=np.full((6, 1), u), v=np.zeros((6, 3)))
        for u in (0.0, 1.0)
    )
    targets = [0] * 6
    assert _balance(plain, logits, targets) == pytest.approx(math.log(3))
    assert _balance(pushed, logits, targets) > math.log(3) + 0.05


def _balance(loss, logits, targets=TARGETS):
    """The part of the loss of each row that is the balance."""
    with_balance = loss(outputs_of(logits, targets)).detach()
    weight, loss.balance_weight = loss.balance_weight, 0.0
    without = loss(outputs_of(logits, targets)).detach()
    loss.balance_weight = weight
    return (with_balance - without)[0].item() / weight


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("other", [{"lr_u": 200.0}, {"lr_v": 0.0}])
def test_each_step_size_has_an_effect(plus, other):
    settings = {"plus": plus, "lr_u": 50.0, "lr_v": 50.0, "max_epochs": 12}
    expected, found = (small(**{**settings, **p}).fit(X, Y) for p in ({}, other))
    assert not np.array_equal(expected.predict_proba(X), found.predict_proba(X))


@pytest.mark.parametrize(
    "other", [{"consistency_weight": 0.0}, {"balance_weight": 0.0}, {"strong_augment": None}]
)
def test_the_terms_of_sop_plus_have_an_effect_on_it_alone(other):
    wide = np.hstack([X, X[::-1], X**2])  # of six columns, weak and strong views change one
    for plus in (False, True):
        fits = (small(plus=plus, **params).fit(wide, Y) for params in ({}, other))
        expected, found = (clf.predict_proba(wide) for clf in fits)
        assert np.array_equal(expected, found) is not plus


def test_both_views_go_through_the_network_in_one_pass():
    seen = []

    class Spying(nn.Linear):
        def forward(self, x):
            if self.training:
                seen.append(len(x))
            return super().forward(x)

    small(module=Spying(6, 3), module_params=None, plus=True, max_epochs=1, batch_size=60).fit(
        X, Y
    )
    assert seen == [120, 120]


@pytest.mark.parametrize("wrong", [{"lr_u": -1.0}, {"lr_v": "fast"}, {"balance_weight": -0.1}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        small(**wrong).fit(X, Y)
