"""ProMix in pieces: selection, debiasing, FMix and the schedule, against what the paper fixes."""

import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from sknoisy.methods.pro_mix import Schedule
from sknoisy.methods.pro_mix.debiasing import adjusted, momentum_of, pseudo_labels, updated
from sknoisy.methods.pro_mix.fmix import fmix, random_mask
from sknoisy.methods.pro_mix.selection import agreed_rows, confident_rows, small_loss_rows


@pytest.fixture
def generator(global_random_seed):
    return torch.Generator().manual_seed(global_random_seed)


def draw_logits(generator, n=60, n_classes=5):
    return torch.randn(n, n_classes, generator=generator, dtype=torch.float64)


def draw_proba(generator, n=200):
    return (4 * draw_logits(generator, n)).softmax(dim=1)


# --- selection ------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7, 1.0])
def test_balanced_classes_contribute_the_share_each(generator, share):
    targets = torch.arange(100) % 5
    selected = small_loss_rows(torch.rand(100, generator=generator), targets, share, 5)
    assert torch.bincount(targets[selected]).tolist() == [round(share * 20)] * 5


def test_unbalanced_classes_have_one_quota_or_all_their_rows(generator):
    sizes = torch.tensor([60, 25, 10, 4, 1])
    targets = torch.arange(5).repeat_interleave(sizes)[torch.randperm(100, generator=generator)]
    for share in (0.001, 0.33, 0.5):
        selected = small_loss_rows(torch.rand(100, generator=generator), targets, share, 5)
        quota = math.ceil(share * 100 / 5)
        expected = [max(1, min(quota, int(size))) for size in sizes]
        assert torch.bincount(targets[selected]).tolist() == expected


def test_selected_rows_have_the_smallest_losses_of_their_class(generator):
    targets = torch.randint(4, (80,), generator=generator)
    losses = torch.rand(80, generator=generator)
    selected = small_loss_rows(losses, targets, 0.4, 4)
    for label in range(4):
        inside, outside = (losses[(targets == label) & mask] for mask in (selected, ~selected))
        assert inside.max() < outside.min()


def test_only_the_order_of_the_losses_matters(generator):
    targets = torch.randint(4, (80,), generator=generator)
    losses = torch.rand(80, generator=generator)
    expected = small_loss_rows(losses, targets, 0.4, 4)
    for transformed in (losses.exp(), 3 * losses - 1, (losses + 1).log()):
        assert torch.equal(small_loss_rows(transformed, targets, 0.4, 4), expected)


def test_class_without_rows_is_passed_over():
    selected = small_loss_rows(torch.arange(6.0), torch.tensor([0, 0, 0, 2, 2, 2]), 0.5, 3)
    assert selected.tolist() == [True, False, False, True, False, False]


def test_confident_rows_have_the_label_that_is_predicted(generator):
    p, targets = draw_proba(generator), torch.randint(5, (200,), generator=generator)
    confident = confident_rows(p, targets, 0.6)
    assert confident.any()
    assert torch.equal(p.argmax(dim=1)[confident], targets[confident])
    assert not confident_rows(p, targets, 1.0).any()


@pytest.mark.parametrize("max_share", [0.1, 0.5, 0.9])
def test_guessed_rows_are_agreed_confident_and_fit_in_the_room(generator, max_share):
    first, second = draw_proba(generator), draw_proba(generator)
    selected = torch.rand(200, generator=generator) < 0.1
    guessed = agreed_rows(first, second, selected, 0.5, max_share)
    both = torch.minimum(first.amax(dim=1), second.amax(dim=1)) > 0.5
    candidates = both & (first.argmax(dim=1) == second.argmax(dim=1)) & ~selected
    room = max(0, int(max_share * 200) - int(selected.sum()))
    assert guessed.sum() == min(room, int(candidates.sum()))
    assert not (guessed & ~candidates).any()
    score = first.amax(dim=1) + second.amax(dim=1)
    left_out = candidates & ~guessed
    if guessed.any() and left_out.any():
        assert score[guessed].min() >= score[left_out].max()


def test_nothing_is_guessed_if_more_rows_are_selected_than_the_room():
    sure = torch.tensor([[1.0, 0.0]]).repeat(10, 1)
    selected = torch.arange(10) < 9
    assert not agreed_rows(sure, sure, selected, 0.5, 0.9).any()
    assert agreed_rows(sure, sure, torch.arange(10) < 8, 0.5, 0.9).sum() == 1


# --- debiasing ------------------------------------------------------------------------------


def test_uniform_distribution_adjusts_nothing(generator):
    logits, targets = draw_logits(generator), torch.randint(5, (60,), generator=generator)
    uniform = torch.full((5,), 0.2, dtype=torch.float64)
    loss = F.cross_entropy(adjusted(logits, uniform, 0.8), targets)
    assert_close(loss, F.cross_entropy(logits, targets))
    plain = (logits / 0.5).softmax(dim=1)
    assert_close(pseudo_labels(logits, uniform, 0.8, 0.5), plain)


def test_scale_of_the_distribution_does_not_matter(generator):
    logits, targets = draw_logits(generator), torch.randint(5, (60,), generator=generator)
    distribution = torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25], dtype=torch.float64)
    for factor in (0.1, 7.0):
        losses = [
            F.cross_entropy(adjusted(logits, d, 0.8), targets)
            for d in (distribution, factor * distribution)
        ]
        assert_close(*losses)
        guesses = [
            pseudo_labels(logits, d, 0.8, 0.5) for d in (distribution, factor * distribution)
        ]
        assert_close(*guesses)


@pytest.mark.parametrize(("sign", "is_stationary"), [(1, True), (-1, False)])
def test_labels_at_the_rates_of_the_distribution_leave_constant_logits_alone(sign, is_stationary):
    counts = torch.tensor([1, 2, 3, 4])
    distribution = counts.double() / 10
    logits = torch.zeros(10, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.arange(4).repeat_interleave(counts)
    F.cross_entropy(adjusted(logits, distribution, sign), targets).backward()
    assert torch.allclose(logits.grad.sum(dim=0), torch.zeros(4).double()) == is_stationary


def test_bias_is_subtracted_from_pseudo_labels():
    distribution = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
    logits = distribution.log()[None] + 3
    assert_close(pseudo_labels(logits, distribution, 1.0, 1.0), torch.full((1, 3), 1 / 3).double())


def test_running_distribution_is_a_moving_average():
    m, n_steps = 0.9, 25
    mean = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    rows = torch.tensor([[0.6, 0.2, 0.2], [0.4, 0.4, 0.2]], dtype=torch.float64)
    running = torch.full((3,), 1 / 3, dtype=torch.float64)
    for _ in range(n_steps):
        running = updated(running, rows, torch.ones(2, dtype=torch.float64), m)
    assert_close(running, m**n_steps / 3 + (1 - m**n_steps) * mean)
    assert_close(running.sum(), torch.ones((), dtype=torch.float64))


def test_running_distribution_weighs_rows_and_stays_without_any():
    running = torch.tensor([0.5, 0.5])
    rows = torch.eye(2)
    assert_close(updated(running, rows, torch.tensor([0.0, 3.0]), 0.0), rows[1])
    assert_close(updated(running, rows, torch.zeros(2), 0.0), running)
    assert_close(updated(running, rows[:0], torch.zeros(0), 0.0), running)


def test_momentum_is_the_published_one_at_the_published_length():
    assert momentum_of(115_245) == pytest.approx(0.9999, abs=1e-12)
    assert momentum_of(115_245) ** 115_245 == pytest.approx(9.9e-6, rel=0.01)
    assert momentum_of(3000) ** 3000 == pytest.approx(9.9e-6, rel=0.05)
    assert momentum_of(1) == 0


def test_sharpening_of_pseudo_labels():
    logits = torch.tensor([[0.6, 0.4]], dtype=torch.float64).log()
    uniform = torch.full((2,), 0.5, dtype=torch.float64)
    assert_close(pseudo_labels(logits, uniform, 0.8, 1.0), logits.exp())
    sharpened = pseudo_labels(logits, uniform, 0.8, 0.5)
    assert_close(sharpened, torch.tensor([[9.0, 4.0]], dtype=torch.float64) / 13)


def test_no_gradient_flows_into_pseudo_labels(generator):
    logits = draw_logits(generator).requires_grad_()
    assert not pseudo_labels(logits, torch.full((5,), 0.2), 0.8, 0.5).requires_grad


# --- FMix -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.1234, 0.5, 1.0])
def test_mask_is_binary_and_has_the_share(generator, share):
    masks = torch.stack([random_mask(32, 32, share, generator) for _ in range(30)])
    assert set(masks.unique().tolist()) <= {0.0, 1.0}
    assert (masks.mean(dim=(1, 2)) - share).abs().max() < 1 / 1024
    if share == 0.1234:  # 126.4 pixels
        assert set(masks.sum(dim=(1, 2)).tolist()) == {126.0, 127.0}


def test_mask_has_connected_regions(generator):
    masks = torch.stack([random_mask(16, 24, 0.5, generator) for _ in range(30)])
    changes = (masks.diff(dim=1) != 0).double().mean()
    scattered = (torch.rand(masks.shape, generator=generator) < 0.5).double()
    assert changes < 0.5 * (scattered.diff(dim=1) != 0).double().mean()


def test_images_are_combined_by_the_mask(generator):
    images = torch.rand(3, 2, 8, 8, generator=generator)
    mask, permutation = random_mask(8, 8, 0.4, generator), torch.tensor([2, 0, 1])
    combined = fmix(images, mask, permutation)
    assert_close(combined, mask * images + (1 - mask) * images[permutation])
    assert torch.equal(fmix(images, torch.ones(8, 8), permutation), images)


# --- the schedule ---------------------------------------------------------------------------


def test_published_lengths_at_the_published_number_of_epochs():
    schedule = Schedule(600, 10)
    assert [schedule.is_warmup(epoch) for epoch in (9, 10)] == [True, False]
    assert schedule.consistency_weight(10) == pytest.approx(0.2)
    assert schedule.consistency_weight(50) == schedule.consistency_weight(599) == 1
    weights = [schedule.weight_of_unlabeled(epoch) for epoch in (10, 99, 100)]
    assert weights == pytest.approx([0.01, 0.099, 0])
    assert [schedule.guesses(epoch) for epoch in (350, 351)] == [False, True]


def test_lengths_are_shares_of_a_shorter_training():
    long, short = Schedule(600, 10), Schedule(60, 1)
    for epoch in range(60):
        ours, theirs = (
            [s.is_warmup(e), s.consistency_weight(e), s.weight_of_unlabeled(e), s.guesses(e)]
            for s, e in ((short, epoch), (long, 10 * epoch))
        )
        assert ours == pytest.approx(theirs)


def test_lengths_of_the_users_own():
    schedule = Schedule(60, 1, 0.4, n_unlabeled_epochs=60, n_guessing_epochs=0)
    assert schedule.weight_of_unlabeled(59) == 0.4
    assert not any(schedule.guesses(epoch) for epoch in range(60))


@pytest.mark.parametrize(("max_epochs", "expected"), [(1, 1), (12, 1), (60, 5), (600, 10)])
def test_default_warmup_is_a_twelfth_and_at_most_ten(max_epochs, expected):
    assert Schedule.default_warmup(max_epochs) == expected
