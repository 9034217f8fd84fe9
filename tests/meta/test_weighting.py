"""WNet and its normalisation, VRI and its Gaussians, on artificial outputs."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F
from torch.testing import assert_close

from sknoisy.meta import VRI, BatchOutputs, MetaModel, WNet, balance_weights, gaussian_kl

N_FEATURES, N_CLASSES = 5, 3


def batch(n=9, seed=0, **extra):
    generator = torch.Generator().manual_seed(seed)
    return BatchOutputs(
        logits=2 * torch.randn(n, N_CLASSES, generator=generator, dtype=torch.float64),
        features=torch.randn(n, N_FEATURES, generator=generator, dtype=torch.float64),
        targets=torch.arange(n) % N_CLASSES,
        **extra,
    )


def cross_entropies(outputs):
    return F.cross_entropy(outputs.logits, outputs.targets, reduction="none")


def wnet(exponent=0.0, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WNet(8, exponent).double()
        torch.nn.init.normal_(model.output.weight)  # weights well spread over (0, 1)
    return model


def small_vri(**params):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VRI(N_FEATURES, N_CLASSES, n_embedding=4, hidden=(8, 6), **params).double()


def exponents(value):
    return torch.full((N_CLASSES,), value, dtype=torch.float64)


# Normalisation


def random_weights(n=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.tensor([0] * 6 + [1] * 4 + [2] * 2)
    return torch.rand(n, generator=generator, dtype=torch.float64), targets


def class_sums(weights, targets):
    return torch.zeros(N_CLASSES, dtype=weights.dtype).index_add(0, targets, weights)


@pytest.mark.parametrize("exponent", [0.0, 0.3, 1.0])
def test_balanced_weights_sum_to_one(exponent):
    weights, targets = random_weights()
    assert balance_weights(weights, targets, exponents(exponent)).sum().item() == pytest.approx(1)


def test_exponent_zero_divides_by_the_sum():
    weights, targets = random_weights()
    balanced = balance_weights(weights, targets, exponents(0.0))
    assert_close(balanced, weights / weights.sum())
    assert_close(balance_weights(weights, targets, None), balanced)


def test_exponent_one_keeps_each_classes_share_of_the_batch():
    weights, targets = random_weights()
    balanced = balance_weights(weights, targets, exponents(1.0))
    assert_close(class_sums(balanced, targets), torch.tensor([6.0, 4.0, 2.0]).double() / 12)
    for c in range(N_CLASSES):  # within a class, weights keep their ratios
        own = targets == c
        assert_close(balanced[own] / balanced[own][0], weights[own] / weights[own][0])


def test_exponents_between_follow_the_formula_class_by_class():
    weights, targets = random_weights()
    exponent = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    raw = []
    for v, c in zip(weights.tolist(), targets.tolist(), strict=True):
        own = [w for w, k in zip(weights.tolist(), targets.tolist(), strict=True) if k == c]
        mean = sum(own) / len(own) / weights.max().item()  # as a share of the largest weight
        raw.append(v * mean ** -exponent[c].item())
    expected = torch.tensor([r / sum(raw) for r in raw], dtype=torch.float64)
    assert_close(balance_weights(weights, targets, exponent), expected)


@pytest.mark.parametrize("exponent", [[0.0] * 3, [0.5] * 3, [1.0] * 3, [0.0, 0.5, 1.0]])
def test_a_common_factor_of_all_weights_has_no_effect(exponent):
    weights, targets = random_weights()
    exponent = torch.tensor(exponent, dtype=torch.float64)
    balanced = balance_weights(weights, targets, exponent)
    assert_close(balance_weights(0.01 * weights, targets, exponent), balanced)


def test_the_mean_of_a_class_is_at_least_a_thousandth_of_the_largest_weight():
    targets = torch.tensor([0, 0, 1, 1])
    for lost in (1e-3, 1e-5):
        weights = torch.tensor([0.5, 0.5, 0.5 * lost, 0.5 * lost], dtype=torch.float64)
        balanced = balance_weights(weights, targets, torch.ones(2).double())
        share = lost / 1e-3  # relative to a class that kept its share
        assert_close(balanced[2:].sum() / balanced[:2].sum(), torch.tensor(share).double())


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_equal_weights_stay_equal(exponent):
    _, targets = random_weights()
    balanced = balance_weights(torch.full((12,), 0.3).double(), targets, exponents(exponent))
    assert_close(balanced, torch.full((12,), 1 / 12).double())


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_an_absent_class_has_no_effect(exponent):
    weights, targets = random_weights()
    with_absent = torch.full((N_CLASSES + 2,), exponent, dtype=torch.float64)
    assert_close(
        balance_weights(weights, targets + 1, with_absent),  # classes 0 and 4 have no row
        balance_weights(weights, targets, exponents(exponent)),
    )


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("zero", ["one row", "one class", "all"])
def test_zero_weights_stay_zero_with_finite_gradients(exponent, zero):
    weights, targets = random_weights()
    none = {"one row": torch.arange(12) == 3, "one class": targets == 1, "all": targets >= 0}[zero]
    weights = weights.masked_fill(none, 0).requires_grad_()
    balanced = balance_weights(weights, targets, exponents(exponent))
    assert (balanced[none] == 0).all()
    assert balanced.sum().item() == pytest.approx(0 if zero == "all" else 1)
    (slope,) = torch.autograd.grad((balanced * torch.arange(12)).sum(), weights)
    assert slope.isfinite().all()


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("logit", [-20.0, -60.0, -88.0, -100.0])
def test_vanishing_weights_give_finite_guidance_and_gradients(exponent, logit):
    # The sigmoid of a lost weighting network: denormal numbers of float32 at -88, 0 at -100.
    scores = torch.tensor([logit, logit - 1, logit, logit + 1], requires_grad=True)
    targets = torch.tensor([0, 0, 1, 1])
    balanced = balance_weights(scores.sigmoid(), targets, torch.full((2,), exponent))
    assert balanced.isfinite().all()
    assert balanced.sum() <= 1 + 1e-5
    (slope,) = torch.autograd.grad((balanced * torch.arange(4)).sum(), scores)
    assert slope.isfinite().all()


def test_sums_belong_to_the_gradient():
    weights, targets = random_weights()
    weights.requires_grad_()
    for exponent in ([0.4, 0.4, 0.4], [0.0, 0.5, 1.0]):
        function = partial(
            balance_weights, targets=targets, exponent=torch.tensor(exponent).double()
        )
        assert torch.autograd.gradcheck(function, weights)  # against finite differences
        # The function has degree 0: by Euler, its derivative along the weights is 0.
        (slope,) = torch.autograd.grad((function(weights) * torch.arange(12)).sum(), weights)
        assert (slope * weights.detach()).sum().abs() < 1e-12
        assert slope.abs().max() > 1e-3


# WNet


def test_wnet_is_the_published_network():
    model = WNet()
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert shapes == {
        "hidden.weight": (100, 1),
        "hidden.bias": (100,),
        "output.weight": (1, 100),
        "output.bias": (1,),
    }
    model, losses = wnet(), torch.linspace(0, 5, 6, dtype=torch.float64)
    for loss, weight in zip(losses, model.weigh(losses), strict=True):
        hidden = (model.hidden.weight[:, 0] * loss + model.hidden.bias).clamp(min=0)
        score = (model.output.weight[0] * hidden).sum() + model.output.bias[0]
        assert weight.item() == pytest.approx(1 / (1 + math.exp(-score.item())))


def test_wnet_starts_with_weights_that_fall_with_the_loss():
    losses = torch.tensor([0.0, 4.0])
    falls = []
    for seed in range(40):
        torch.manual_seed(seed)
        small, large = WNet().weigh(losses)
        falls.append((small - large).item())
    assert min(falls) > 0
    assert max(falls) < 0.6  # a start, which is still random, and no verdict
    assert len(set(falls)) == 40


def test_wnet_weighs_rows_by_their_cross_entropy():
    model, outputs = wnet(), batch()
    v = model.weigh(cross_entropies(outputs))
    assert v.max() - v.min() > 0.1
    assert_close(model.sample_weight(outputs), v)
    assert_close(model(outputs), v / v.sum())
    loss = model.training_loss(outputs.logits, model(outputs), outputs)
    assert_close(loss, (v / v.sum() * cross_entropies(outputs)).sum())


def test_wnet_balances_weights_by_its_exponent():
    outputs = batch()
    per_class = torch.tensor([0.0, 0.5, 1.0])
    v = wnet().weigh(cross_entropies(outputs))
    for exponent in (0.7, per_class):
        expanded = torch.as_tensor(exponent, dtype=torch.float64).expand(N_CLASSES)
        found = wnet(exponent)(outputs)
        assert_close(found, balance_weights(v, outputs.targets, expanded), atol=1e-7, rtol=1e-7)
        assert not torch.allclose(found, wnet()(outputs))


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_constant_wnet_is_plain_cross_entropy(exponent):
    outputs, model = batch(), wnet(exponent)
    torch.nn.init.zeros_(model.output.weight)
    logits = outputs.logits.clone().requires_grad_()
    guided = model.training_loss(logits, model(outputs).detach(), outputs)
    plain = F.cross_entropy(logits, outputs.targets)
    assert_close(guided, plain)
    assert_close(torch.autograd.grad(guided, logits), torch.autograd.grad(plain, logits))


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_wnet_counts_sample_weights_like_repeated_rows(exponent):
    """Weights 0, 1, 2 are absent, single and repeated rows, up to the mean weight of the batch."""
    counts = torch.arange(9) % 3
    outputs, model = batch(sample_weight=counts.double()), wnet(exponent)
    index = torch.repeat_interleave(torch.arange(9), counts)
    repeated = batch()._replace(
        logits=outputs.logits[index],
        features=outputs.features[index],
        targets=outputs.targets[index],
    )
    expected = torch.zeros(9, dtype=torch.float64).index_add(0, index, model(repeated).double())
    assert_close(model(outputs).double(), expected * counts.double().mean(), check_dtype=False)


def test_weights_are_zero_if_all_sample_weights_are_zero():
    assert not wnet(0.5)(batch(sample_weight=torch.zeros(9, dtype=torch.float64))).any()


def test_wnet_gives_trusted_rows_the_largest_weight():
    trusted = torch.arange(9) < 3
    model, outputs = wnet(), batch(trusted=torch.arange(9) < 3)
    v = model.weigh(cross_entropies(outputs))
    assert_close(model.sample_weight(outputs), torch.where(trusted, 1.0, v))
    v = torch.where(trusted, v.max(), v)
    assert_close(model(outputs), v / v.sum())


def test_trusted_rows_do_not_depend_on_the_scale_of_the_weights():
    """Otherwise, the meta objective would reward making all other weights small."""
    model, outputs = wnet(), batch(trusted=torch.arange(9) < 3)
    with torch.no_grad():
        model.output.weight.zero_()  # equal weights, whatever the loss
        for bias in (-3.0, 0.0, 3.0):
            model.output.bias.fill_(bias)
            assert_close(model(outputs), torch.full((9,), 1 / 9).to(outputs.logits))


# VRI


def test_vri_has_the_published_shape_and_start():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VRI(n_features=32, n_classes=10)
    linear = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    widths = {name: (m.in_features, m.out_features) for name, m in linear.items()}
    assert list(widths.values()) == [(96, 1024), (1024, 512), (512, 512), (512, 10), (512, 10)]
    assert model.embedding.weight.shape == (10, 64)
    for layer in linear.values():
        assert (layer.bias == 0).all()
        std = math.sqrt(2 / (layer.in_features + layer.out_features))  # Xavier, normal
        n = layer.weight.numel()
        assert layer.weight.std().item() == pytest.approx(std, rel=4 / math.sqrt(2 * n))
        # A uniform distribution of that deviation would end at sqrt(3).
        assert layer.weight.abs().max() > 2.5 * std


def test_vri_prior_is_the_posterior_network_at_an_embedding_of_zero():
    model, outputs = small_vri(), batch()
    mean, std = model.gaussian(outputs.features, outputs.targets)
    prior = model.gaussian(outputs.features, None)
    assert (mean - prior[0]).abs().max() > 0.01
    torch.nn.init.zeros_(model.embedding.weight)
    assert_close(model.gaussian(outputs.features, outputs.targets), prior)
    h = outputs.features
    h = torch.cat([h, torch.zeros(len(h), 4).double()], dim=1)
    for layer in (model.body[0], model.body[2]):
        h = torch.tanh(h @ layer.weight.T + layer.bias)
    assert_close(prior[0], h @ model.mean.weight.T + model.mean.bias)
    log_variance = h @ model.log_variance.weight.T + model.log_variance.bias
    assert_close(prior[1] ** 2, log_variance.exp())
    assert std.min() > 0


def test_vri_draws_sigmoids_of_its_gaussian():
    model, outputs = small_vri(), batch()
    mean, std = model.gaussian(outputs.features, outputs.targets)
    draws = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for _ in range(2000):
            draws.append(model(outputs))
    normal = torch.stack(draws).logit()
    error = 4 / math.sqrt(2000)  # four standard errors
    assert ((normal.mean(dim=0) - mean).abs() < error * std).all()
    assert ((normal.std(dim=0) - std).abs() < error * std).all()


def test_vri_scales_logits():
    model, outputs = small_vri(), batch()
    v = torch.rand(9, N_CLASSES, generator=torch.Generator().manual_seed(1)).double()
    loss = model.training_loss(outputs.logits, v, outputs)
    log_proba = torch.log_softmax(v * outputs.logits, dim=1)
    assert_close(loss, -log_proba.gather(1, outputs.targets[:, None]).mean())


def saturate(model):
    """Set sigma to almost 0 and mu to a large value, so that v is 1 for any input."""
    for head, bias in ((model.mean, 100.0), (model.log_variance, -100.0)):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.constant_(head.bias, bias)
    return model


def test_saturated_vri_is_plain_cross_entropy():
    model, outputs = saturate(small_vri()), batch()
    guidance = model(outputs)
    assert_close(guidance, torch.ones(9, N_CLASSES).double())
    loss = model.training_loss(outputs.logits, guidance, outputs)
    assert_close(loss, F.cross_entropy(outputs.logits, outputs.targets))
    proba = outputs.logits.softmax(dim=1)[range(9), outputs.targets]
    assert_close(model.sample_weight(outputs), proba)


def test_vri_weights_and_trust():
    sample_weight = torch.linspace(0, 2, 9, dtype=torch.float64)
    trusted = torch.arange(9) < 3
    outputs = batch(sample_weight=sample_weight, trusted=trusted)
    model = small_vri()
    guidance = model(outputs).detach()
    assert (guidance[:3] == 1).all()
    assert (guidance[3:] < 1).all()
    losses = F.cross_entropy(guidance * outputs.logits, outputs.targets, reduction="none")
    loss = model.training_loss(outputs.logits, guidance, outputs)
    assert_close(loss, (losses * sample_weight).mean())
    mean, _ = model.gaussian(outputs.features, outputs.targets)
    proba = torch.softmax(mean.sigmoid() * outputs.logits, dim=1)[range(9), outputs.targets]
    assert_close(model.sample_weight(outputs), torch.where(trusted, 1.0, proba))


@pytest.mark.parametrize(
    ("mean", "std", "prior_mean", "prior_std"),
    [(0.5, 0.8, 0.0, 1.0), (-1.0, 2.0, 0.3, 0.5), (0.2, 1.0, 0.2, 1.0)],
)
def test_gaussian_kl(mean, std, prior_mean, prior_std):
    given = [torch.tensor(x, dtype=torch.float64) for x in (mean, std, prior_mean, prior_std)]
    value = gaussian_kl(*given).item()
    assert value == pytest.approx(
        kl_divergence(Normal(mean, std), Normal(prior_mean, prior_std)).item(), abs=1e-6
    )
    if (mean, std) == (0.5, 0.8):  # log(1 / 0.8) + (0.8^2 + 0.5^2) / 2 - 1 / 2
        assert value == pytest.approx(0.168144, abs=5e-7)


def test_gaussian_kl_is_a_mean_over_all_entries():
    generator = torch.Generator().manual_seed(0)
    m1, s1, m2, s2 = torch.rand(4, 6, N_CLASSES, generator=generator, dtype=torch.float64) + 0.1
    assert_close(gaussian_kl(m1, s1, m2, s2), kl_divergence(Normal(m1, s1), Normal(m2, s2)).mean())


def test_penalty_of_vri_is_the_weighted_kl():
    outputs = batch()
    assert small_vri().penalty(outputs) is None
    model = small_vri(kl_weight=5.0)
    posterior = Normal(*model.gaussian(outputs.features, outputs.targets))
    prior = Normal(*model.gaussian(outputs.features, None))
    assert_close(model.penalty(outputs), 5 * kl_divergence(posterior, prior).mean())
    assert WNet().penalty(outputs) is None


def test_the_base_class_is_abstract():
    outputs, base = batch(), MetaModel()
    for call in (
        lambda: base(outputs),
        lambda: base.training_loss(outputs.logits, None, outputs),
        lambda: base.sample_weight(outputs),
    ):
        with pytest.raises(NotImplementedError):
            call()
