"""Small nets in float64, stock skorch's and sknoisy's own, for the tests of the callbacks."""

import copy
import inspect
from functools import partial

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from sknoisy._engine.batches import TrainingData
from sknoisy._engine.net import DeviceNet
from sknoisy._engine.rows import TensorRows
from sknoisy.callbacks import MetaUpdate, PerSampleCrossEntropy
from sknoisy.meta import VRI, ForwardGradient, MetaModel, WNet

N, D, N_CLASSES, BATCH = 20, 4, 3, 8
EPOCH_BATCHES = 3


def make_module(*middle):
    """A network of one hidden layer, always at the same start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(D, 6), *middle, nn.ReLU(), nn.Linear(6, N_CLASSES)]
        return nn.Sequential(*layers).double()


def make_xy(n=N):
    X = np.random.default_rng(0).normal(size=(n, D))
    return X, np.argmax(X[:, :N_CLASSES], axis=1)


def training_data(n=N, **extra):
    X, y = make_xy(n)
    return TrainingData(TensorRows(torch.from_numpy(X)), torch.from_numpy(y), **extra)


def fit(net, *args):
    """Fit with torch's global random state at 0 inside and as it was outside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return net.fit(*args)


def in_order(callbacks):
    """Name callbacks by class, or by class and place, so that skorch keeps their order.

    Pairs of name and callback stay as they are.
    """
    names = [type(callback).__name__ for callback in callbacks]
    return [
        callback
        if isinstance(callback, tuple)
        else (name if names.count(name) == 1 else f"{name}_{i}", callback)
        for i, (name, callback) in enumerate(zip(names, callbacks, strict=True))
    ]


def fit_device_net(*callbacks, module=None, data=None, **params):
    """A fitted DeviceNet; the order of the rows is always the same."""
    net = DeviceNet(
        make_module() if module is None else module,
        PerSampleCrossEntropy,
        order=torch.Generator().manual_seed(0),
        callbacks=in_order(callbacks),
        **{**DEFAULTS, **params},
    )
    return fit(net, training_data() if data is None else data)


def fit_stock_net(*callbacks, module=None, data=None, **params):
    """A fitted NeuralNetClassifier, which takes the rows in their order."""
    net = NeuralNetClassifier(
        make_module() if module is None else module,
        callbacks=in_order(callbacks),
        **{"criterion": PerSampleCrossEntropy, "train_split": None, **DEFAULTS, **params},
    )
    return fit(net, *(make_xy() if data is None else data))


DEFAULTS = {
    "max_epochs": 2,
    "batch_size": BATCH,
    "lr": 0.1,
    "optimizer__momentum": 0.9,
    "verbose": 0,
}


def state(module):
    """A copy of a module's state."""
    return copy.deepcopy(module.state_dict())


def small_wnet():
    """A WNet that is always at the same start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return WNet(5).double()


def small_vri(n_features, n_classes):
    """A factory."""
    return VRI(n_features, n_classes, n_embedding=3, hidden=(4,))


def update(meta_model=None, *args, meta_lr=0.1, **params):
    """A MetaUpdate whose every draw is fixed, with plain SGD on the meta model."""
    params = {"meta_rows": 12, "meta_batch_size": 6, "random_state": 0, **params}
    model = small_wnet() if meta_model is None else meta_model
    optimizer = partial(torch.optim.SGD, lr=meta_lr)
    if isinstance(model, MetaModel):
        model = copy.deepcopy(model)
        model.optimizer = optimizer
    elif "optimizer" in inspect.signature(model).parameters:
        model = partial(model, optimizer=optimizer)
    return MetaUpdate(model, *args, **params)


class Spy(ForwardGradient):
    """A gradient strategy that keeps the problems it saw."""

    def __init__(self):
        super().__init__()
        self.problems = []

    def __deepcopy__(self, memo):
        return copy.copy(self)  # the list is the same: the copy's problems are seen here

    def __call__(self, problem):
        self.problems.append(problem)
        return super().__call__(problem)


class At(Callback):
    """Call a function of the net at the end of each epoch, or of those given."""

    def __init__(self, function, *epochs):
        self.function, self.epochs = function, epochs

    def on_epoch_end(self, net, **kwargs):
        if not self.epochs or len(net.history) in self.epochs:
            self.function(net)


class AtBatch(Callback):
    """Call a function of the net at the begin of one batch; epoch and batch count from 1."""

    def __init__(self, function, epoch, batch):
        self.function, self.when = function, (epoch, batch)

    def on_epoch_begin(self, net, **kwargs):
        self.count = 0

    def on_batch_begin(self, net, training=False, **kwargs):
        self.count += training
        if training and (len(net.history), self.count) == self.when:
            self.function(net)
