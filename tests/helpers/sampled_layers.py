"""Problems and strategies with gates that stand as told, for the tests of LayerSampledGradient."""

from functools import partial

import torch
from meta_problems import N_CLASSES, N, make_problem, meta_step, seeded
from torch import nn
from torch.nn import functional as F

from sknoisy.meta import LayerSampledGradient, MetaModel, StatelessModule
from sknoisy.networks import PreActResNet, WithFeatures


class Exemplars(MetaModel):
    """Learning to Reweight's: one weight per row, nought before the update."""

    identity_step = True

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(N))

    def forward(self, batch):
        return self.weights

    def training_loss(self, logits, guidance, batch):
        return (guidance * F.cross_entropy(logits, batch.targets, reduction="none")).sum()


def problem_of(network, **kwargs):
    """A problem on one of the small networks, or on a residual one with batch norm."""
    if network != "ResNet":
        return make_problem(network, **kwargs)
    build = partial(PreActResNet, 2, N_CLASSES, depth="small")
    x, meta_x = torch.randn(2, N, 2, 8, 8, generator=torch.Generator().manual_seed(2)).double()
    module = StatelessModule(WithFeatures(seeded(build, 0)))
    return make_problem(**kwargs)._replace(network=module, x=x, meta_x=meta_x)


def with_gates(problem, is_open=None, **params):
    """A strategy whose gates stand as told, from the lowest to the last; open where None."""
    params = {"n_active": 0, "match_weight": 0.0, "sampler_lr": 0.0, **params}
    strategy = LayerSampledGradient(**params)
    meta_step(strategy, problem)  # builds the samplers
    set_gates(strategy, [True] * len(strategy.samplers) if is_open is None else is_open)
    strategy.epoch_report()
    return strategy


@torch.no_grad()
def set_gates(strategy, is_open):
    """Give the gates scores far above any Gumbel noise, whatever the gradients are."""
    samplers = strategy.samplers
    samplers.output_weight.zero_()
    samplers.output_bias.zero_()
    for bias, gate in zip(samplers.output_bias, is_open, strict=False):
        bias[0, 0] = 1e3 if gate else -1e3


def scores_one_by_one(samplers, pooled):
    """The scores of the gates by a network per layer, unpadded: standardise, FC, PReLU, FC."""
    scores = []
    for i, x in enumerate(pooled):
        spread = x.std() if len(x) > 1 else 0
        rounding = 1e-6 * x.mean().abs() + torch.finfo(x.dtype).tiny
        h = (x - x.mean()) / (spread + rounding) @ samplers.hidden_weight[i, : len(x)]
        h = F.prelu(h + samplers.hidden_bias[i, 0], samplers.slope[i, 0])
        scores.append(h @ samplers.output_weight[i] + samplers.output_bias[i, 0])
    return torch.stack(scores)
