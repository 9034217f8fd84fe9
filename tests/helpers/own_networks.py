"""Networks of a user's own for rows that are neither tables nor images."""

import numpy as np
import torch
from sklearn.base import clone
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from sknoisy import MILDClassifier


class _Net(nn.Module):
    """Check the dtype and the shape of the rows, pool what a layer returns, and classify."""

    dtype, shape = torch.float32, ()

    def __init__(self, layer, n_classes):
        super().__init__()
        self.layer, self.fc = layer, nn.Linear(8, n_classes)

    def forward(self, x):
        assert (x.dtype, tuple(x.shape[1:])) == (self.dtype, self.shape)
        return self.fc(self.pooled(x))


class Recurrent(_Net):
    shape = (5, 7)

    def __init__(self, n_features, n_classes):
        super().__init__(nn.GRU(n_features, 8, batch_first=True), n_classes)

    def pooled(self, x):
        return self.layer(x)[0][:, -1]


class Tokens(_Net):
    dtype, shape = torch.int64, (5,)

    def __init__(self, n_classes):
        super().__init__(nn.Embedding(20, 8), n_classes)

    def forward(self, x):
        if x.dtype != self.dtype:
            return self.layer(x)  # which takes no floats
        return super().forward(x)

    def pooled(self, x):
        return self.layer(x).mean(dim=1)


class Convolution(_Net):
    shape = (6, 3)

    def __init__(self, n_classes):
        super().__init__(nn.Conv1d(3, 8, 3), n_classes)

    def pooled(self, x):
        return self.layer(x.transpose(1, 2)).mean(dim=2)


class Bands(_Net):
    shape = (6, 5, 5)

    def __init__(self, in_channels, n_classes):
        super().__init__(nn.Conv2d(in_channels, 8, 3), n_classes)

    def pooled(self, x):
        return self.layer(x).mean(dim=(2, 3))


LABELS = np.arange(60) % 3


def _floats(network):
    def draw(rng):
        shift = LABELS.reshape(-1, *[1] * len(network.shape))
        return network, rng.normal(size=(60, *network.shape)) + shift, LABELS

    return draw


def _tokens(rng):
    return Tokens, rng.integers(0, 6, size=(60, 5)) + 6 * LABELS[:, None], LABELS


def _pixels(rng):
    X = rng.integers(0, 100, size=(60, *Bands.shape)) + 50 * LABELS[:, None, None, None]
    return Bands, X.astype(np.uint8), LABELS


# By kind: a function of a generator that returns a network, its rows, and labels.
ROWS_FOR = {
    "series": _floats(Recurrent),
    "tokens": _tokens,
    "channels last": _floats(Convolution),
    "bands": _floats(Bands),
    "bands of uint8": _pixels,
}


def given_to(estimator, network):
    """Return a clone that gets rows of any shape: its networks, or the parts before them."""
    own = clone(estimator).set_params(module=network, module_params=None)
    if hasattr(own, "purifier"):
        flat = FunctionTransformer(lambda X: X.reshape(len(X), -1))
        own.set_params(purifier__representation=flat)
    if isinstance(own, MILDClassifier):
        own.set_params(selector__module=network, selector__module_params=None, semi="auto")
    return own
