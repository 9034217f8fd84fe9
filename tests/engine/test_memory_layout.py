"""Networks with 2-D convolutions train and predict channels-last, any other as it is."""

import copy
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from sknoisy import CLIDMUClassifier, FaMUSClassifier, MILDClassifier, MLNTClassifier
from sknoisy._engine.construction import placed
from sknoisy.networks import PreActResNet
from sknoisy.representation import MoCo, SimCLR

QUICK = {"max_epochs": 2, "batch_size": 16, "random_state": 0}
META = {"n_warmup_epochs": 1, "meta_batch_size": 16, **QUICK}
ESTIMATORS = [
    CLIDMUClassifier(**META),
    CLIDMUClassifier(gradient="reverse", **META),
    FaMUSClassifier(**META),
    MILDClassifier(semi="mixmatch", **QUICK),
    MLNTClassifier(n_synthetic=2, **QUICK),
    SimCLR(**QUICK),
    MoCo(**QUICK),
]


class Flat(nn.Module):
    """A convolution whose map is flattened by ``view``, which needs the usual layout."""

    def __init__(self, in_channels, n_classes):
        super().__init__()
        self.body = nn.Conv2d(in_channels, 4, 3)
        self.head = nn.Linear(4 * 6 * 6, n_classes)

    def forward(self, x):
        return self.head(self.body(x).view(len(x), -1))


class GroupNormed(Flat):
    """Group norm after a convolution: torch's tangent of it needs the usual layout."""

    def __init__(self, in_channels, n_classes):
        super().__init__(in_channels, n_classes)
        self.body = nn.Sequential(self.body, nn.GroupNorm(2, 4), nn.Flatten())

    def forward(self, x):
        return self.head(self.body(x))


@contextmanager
def recorded_layers():
    """Yield a list of (layer, input, output) of each 4-D layer that runs."""
    ran = []

    def record(layer, args, output):
        if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d)):
            ran.append((layer, args[0].detach(), output.detach()))

    with register_module_forward_hook(record):
        yield ran


def is_channels_last(tensor):
    return tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_no_layer_but_the_first_converts_its_input(estimator, images):
    X, y = images
    with recorded_layers() as ran:
        estimator.fit(X, y)
        getattr(estimator, "predict", getattr(estimator, "transform", None))(X)
    inner = [(x, out) for layer, x, out in ran if x.shape[1] > 3]
    assert len(inner) > 100
    assert all(is_channels_last(x) and is_channels_last(out) for x, out in inner)
    assert all(is_channels_last(layer.weight) for layer, *_ in ran if layer.weight.ndim == 4)


def test_layout_changes_no_result_beyond_rounding(images):
    x = torch.from_numpy(images[0]).permute(0, 3, 1, 2).double()
    torch.manual_seed(0)
    usual = PreActResNet(3, 2, depth="small").double().eval()
    last = copy.deepcopy(usual).to(memory_format=torch.channels_last)
    np.testing.assert_allclose(
        last(x).detach().numpy(), usual(x).detach().numpy(), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("module", [Flat, GroupNormed])
def test_a_module_that_needs_the_usual_layout_keeps_it(module, images):
    X, y = images
    classifier = CLIDMUClassifier(module=module, **META).fit(X, y)
    (weight,) = (p for p in classifier.net_.module_.parameters() if p.ndim == 4)
    assert weight.is_contiguous()
    assert not is_channels_last(weight)
    assert classifier.predict(X).shape == y.shape


def test_a_module_without_convolutions_keeps_its_layout():
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    module.map = nn.Parameter(torch.zeros(2, 3, 4, 5))
    strides = [parameter.stride() for parameter in module.parameters()]
    module = placed(module, torch.zeros(2, 3, 2, 2))
    assert [parameter.stride() for parameter in module.parameters()] == strides
