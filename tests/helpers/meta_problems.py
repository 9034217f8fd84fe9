"""Small bi-level problems on many kinds of networks, for the tests of the gradient strategies."""

import warnings
from contextlib import nullcontext
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from sknoisy.meta import VRI, CLIDObjective, MetaProblem, ReverseGradient, StatelessModule, WNet
from sknoisy.networks import MLP, WithFeatures

N, N_CLASSES, LR = 8, 3, 0.5
TARGETS = torch.arange(N) % N_CLASSES


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True)
        self.fc = nn.Linear(4, N_CLASSES)

    def forward(self, x):
        return self.fc(self.encoder(x).mean(dim=1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True)
        self.fc = nn.Linear(5, N_CLASSES)

    def forward(self, x):
        return self.fc(self.lstm(x)[0][:, -1])


class Tied(nn.Module):
    """One weight in two places, a frozen layer, and a layer that is never called."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(5, 5).requires_grad_(False)
        self.unused = nn.Linear(5, 5)
        self.fc = nn.Linear(5, N_CLASSES)

    def forward(self, x):
        return self.fc(torch.tanh(self.second(self.frozen(torch.tanh(self.first(x))))))


class InPlace(nn.Module):
    """Outputs of linear maps that are overwritten: activations and sums in place."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(2, 2, 3, padding=1), nn.Linear(8, 8)
        self.fc = nn.Linear(8, N_CLASSES)

    def forward(self, x):
        h = F.leaky_relu(self.conv(x), 0.3, inplace=True)
        y = self.conv(h)
        y += x
        h = self.linear(F.adaptive_avg_pool2d(y, 2).flatten(1))
        h[:, :3].mul_(2)  # through a view
        return self.fc(torch.relu_(h))


class BiasesOnly(nn.Module):
    """Trained biases of frozen weights, with a second axis as long as the features."""

    def __init__(self):
        super().__init__()
        self.first, self.conv = nn.Linear(4, 3), nn.Conv1d(3, 3, 1)
        self.first.weight.requires_grad_(False)
        self.conv.weight.requires_grad_(False)
        self.fc = nn.Linear(3, N_CLASSES)

    def forward(self, x):
        return self.fc(torch.tanh(self.conv(torch.tanh(self.first(x)))).mean(dim=1))


def convolutional(norm):
    head = nn.Sequential(nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, N_CLASSES))
    return nn.Sequential(nn.Conv2d(2, 4, 3), norm, *head)


NETWORKS = {
    "linear": (lambda: nn.Linear(5, N_CLASSES), (5,)),
    "MLP": (lambda: MLP(5, N_CLASSES, hidden=(6, 4)), (5,)),
    "MLP, dropout": (lambda: MLP(5, N_CLASSES, hidden=(6,), dropout=0.4, input_dropout=0.2), (5,)),
    "torch's dropout": (
        lambda: nn.Sequential(nn.Linear(5, 9), nn.Dropout(0.4), nn.ReLU(), nn.Linear(9, 3)),
        (5,),
    ),
    "batch norm": (lambda: convolutional(nn.BatchNorm2d(4)), (2, 4, 4)),
    "group norm": (lambda: convolutional(nn.GroupNorm(2, 4)), (2, 4, 4)),
    "transformer": (Transformer, (3, 4)),
    "LSTM": (Recurrent, (3, 4)),
    "tied weights": (Tied, (5,)),
    "in place": (InPlace, (2, 4, 4)),
    "biases only": (BiasesOnly, (3, 4)),
}


def small_vri(kl_weight=0.0, n_features=4):
    return VRI(n_features, N_CLASSES, n_embedding=3, hidden=(4,), kl_weight=kl_weight)


def seeded(build, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().double()


def make_problem(network="MLP", meta_model=None, objective=None, **kwargs):
    build, shape = NETWORKS[network]
    generator = torch.Generator().manual_seed(2)
    x, meta_x = torch.randn(2, N, *shape, generator=generator, dtype=torch.float64)
    return MetaProblem(
        network=StatelessModule(WithFeatures(seeded(build, 0))),
        meta_model=seeded(meta_model or partial(WNet, 4), 1),
        objective=objective or CLIDObjective(),
        x=x,
        targets=TARGETS,
        meta_x=meta_x,
        meta_targets=TARGETS.flip(0),
        lr=LR,
        **kwargs,
    )


def meta_step(strategy, problem, seed=3):
    """A step whose draws begin at ``seed``; a fallback to finite differences is an error."""
    with (
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(),
        # The only attention with a second derivative.
        sdpa_kernel(SDPBackend.MATH) if isinstance(strategy, ReverseGradient) else nullcontext(),
    ):
        warnings.simplefilter("error", UserWarning)
        torch.manual_seed(seed)
        return strategy(problem)


def meta_gradient(strategy, problem, seed=3):
    return torch.cat([g.flatten() for g in meta_step(strategy, problem, seed).gradients])


def relative_difference(found, expected):
    assert expected.norm() > 1e-12
    return ((found - expected).norm() / expected.norm()).item()
