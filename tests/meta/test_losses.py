"""Per-sample losses: limits, margins, gradients."""

import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from sknoisy.meta import LDAMLoss

COUNTS = [1000, 50, 200, 10]


def batch(n=12, n_classes=4):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, n_classes, generator=generator, dtype=torch.float64)
    return logits, torch.arange(n) % n_classes


def cross_entropies(logits, targets):
    return F.cross_entropy(logits, targets, reduction="none")


def test_without_a_margin_it_is_cross_entropy():
    assert_close(LDAMLoss(COUNTS, max_margin=0)(*batch()), cross_entropies(*batch()))


def test_equal_classes_share_the_largest_margin():
    """The common margin is that of an additive-margin softmax: log(1 + sum exp(z_k - z_y + m))."""
    logits, targets = batch()
    given = logits.gather(1, targets[:, None])
    others = logits.masked_fill(F.one_hot(targets, 4).bool(), -torch.inf)
    expected = torch.log1p((others - given + 0.3).exp().sum(dim=1))
    losses = LDAMLoss([7, 7, 7, 7], max_margin=0.3)(logits, targets)
    assert losses.shape == (12,)
    assert_close(losses, expected, rtol=1e-6, atol=0)  # margins are float32


def test_margins_fall_with_the_fourth_root_of_the_class_size():
    margins = LDAMLoss([160_000, 10_000, 625, 16], max_margin=0.4).margins
    # Fourth roots of the ratios to 16: 10, 5, 2.5 and 1.
    assert_close(margins, torch.tensor([0.04, 0.08, 0.16, 0.4]))
    ratio = LDAMLoss(COUNTS).margins[1] / LDAMLoss(COUNTS).margins[2]
    assert ratio.item() == pytest.approx((200 / 50) ** 0.25)
    assert LDAMLoss(COUNTS).margins.max().item() == 0.5


def test_only_the_ratio_of_class_sizes_counts():
    assert_close(LDAMLoss(COUNTS).margins, LDAMLoss([c / 7 for c in COUNTS]).margins)
    assert_close(LDAMLoss(COUNTS).margins, LDAMLoss(torch.tensor(COUNTS)).margins)


def test_the_margin_adds_to_the_loss_and_more_so_for_rarer_classes():
    logits, targets = torch.zeros(4, 4), torch.arange(4)
    losses = LDAMLoss(COUNTS)(logits, targets)
    by_size = sorted(range(4), key=COUNTS.__getitem__)
    assert losses[by_size].tolist() == sorted(losses.tolist(), reverse=True)
    assert len(set(losses.tolist())) == 4
    assert (losses > math.log(4)).all()
    wider = LDAMLoss(COUNTS, max_margin=1.0)(logits, targets)
    assert (wider > losses).all()


@pytest.mark.parametrize("scale", [0.5, 1.0, 30.0])
def test_scale_multiplies_logits_and_margins(scale):
    logits, targets = batch()
    shifted = logits.clone()
    for row, target in enumerate(targets.tolist()):
        shifted[row, target] -= 0.5 * (10 / COUNTS[target]) ** 0.25
    expected = cross_entropies(scale * shifted, targets)
    assert_close(LDAMLoss(COUNTS, scale=scale)(logits, targets), expected, rtol=1e-6, atol=1e-9)


def test_default_scale_is_one():
    logits, targets = batch()
    assert_close(LDAMLoss(COUNTS)(logits, targets), LDAMLoss(COUNTS, scale=1)(logits, targets))


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_gradient_is_that_of_finite_differences(scale):
    logits, targets = batch()
    loss = LDAMLoss(COUNTS, scale=scale)
    assert torch.autograd.gradcheck(lambda z: loss(z, targets), logits.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda z: loss(z, targets), logits)


def test_margins_are_saved_and_cast_but_not_trained():
    loss = LDAMLoss(COUNTS)
    assert list(loss.parameters()) == []
    copied = LDAMLoss([1, 1, 1, 1])
    copied.load_state_dict(loss.state_dict())
    assert_close(copied(*batch()), loss(*batch()))
    assert loss(*batch()).dtype == torch.float64
    logits, targets = batch()
    assert loss(logits.half(), targets).dtype == torch.float16


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (([3, 0],), "class_counts must be one positive number per class"),
        (([3, -1],), "class_counts"),
        (([3, float("nan")],), "class_counts"),
        (([],), "class_counts"),
        (([[3, 4]],), "class_counts"),
        (([3, 4], -0.1), "max_margin must be finite and at least 0, got -0.1"),
        (([3, 4], float("nan")), "max_margin"),
        (([3, 4], 0.5, 0), "scale must be finite and positive, got 0"),
    ],
)
def test_bad_parameters(args, message):
    with pytest.raises(ValueError, match=message):
        LDAMLoss(*args)
