"""Semi-supervised nets in float64 on unit vectors, every draw fixed, for their tests."""

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn

from sknoisy._engine.batches import TrainingData
from sknoisy._engine.net import DeviceNet
from sknoisy._engine.rows import TensorRows
from sknoisy.callbacks import PerSampleCrossEntropy
from sknoisy.methods.semi_supervised import ContrastiveMixUpNet, MixMatchNet

NETS = [MixMatchNet, ContrastiveMixUpNet]
N, N_CLASSES, N_FEATURES = 20, 3, 6
LABELED, UNLABELED = torch.arange(12), torch.arange(12, N)

# An epoch is one step of all rows with labels.
DEFAULTS = {"batch_size": 12, "lr": 0.1, "max_epochs": 1, "verbose": 0}


def make_module(*middle):
    """Return a network of one hidden layer, always with the same initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(N, N_FEATURES), *middle, nn.ReLU(), nn.Linear(N_FEATURES, N_CLASSES)]
        return nn.Sequential(*layers).double()


def unit_data(X=None, y=None, **extra):
    """Return the rows of the unit matrix: a mixture of them holds the shares of its rows."""
    X = torch.eye(N, dtype=torch.float64) if X is None else X
    y = torch.arange(N) % N_CLASSES if y is None else y
    return TrainingData(TensorRows(X), y, generator=torch.Generator().manual_seed(0), **extra)


def build(cls, module=None, *, unlabeled=UNLABELED, seed=0, **params):
    """Return a net that is not fitted; cls may be DeviceNet."""
    extra = {} if cls is DeviceNet else {"unlabeled": unlabeled}
    if cls is not DeviceNet:
        extra["generator"] = torch.Generator().manual_seed(seed)
    if cls is ContrastiveMixUpNet:
        extra["n_features"] = N_FEATURES
    return cls(
        make_module() if module is None else module,
        PerSampleCrossEntropy,
        order=torch.Generator().manual_seed(0),
        **{**DEFAULTS, **extra, **params},
    )


def fitted(cls, module=None, data=None, **params):
    """Return a fitted net; torch's global random state is 0 inside and unchanged outside."""
    net = build(cls, module, **params)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return net.fit(unit_data().only(LABELED) if data is None else data)


def weights_of(module):
    """Return all parameters in one array."""
    return np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])


def same_weights(net, other):
    """Return whether two nets have the same weights, bit for bit."""
    return np.array_equal(weights_of(net.module_), weights_of(other.module_))


class Steps(Callback):
    """Keep the inputs of the module, by train mode and eval mode."""

    def on_train_begin(self, net, **kwargs):
        self.seen = {True: [], False: []}
        self._hook = net.module_.register_forward_pre_hook(
            lambda module, args: self.seen[module.training].append(args[0].clone())
        )

    def on_train_end(self, net, **kwargs):
        self._hook.remove()

    @property
    def in_training(self):
        """Inputs of the passes in train mode."""
        return self.seen[True]

    @property
    def aside(self):
        """Inputs of the passes in eval mode; the last of an epoch checks for infinite logits."""
        return self.seen[False]
