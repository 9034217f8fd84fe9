"""The wrapper that gives penultimate features and logits of any module."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from feature_modules import FC_NAMES, MODULES, OTHER_HEADS, TWO_HEAD_CALLS, make
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call

from sknoisy.networks import WithFeatures


def n_hooks(module):
    own = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())
    return own + len(nn.modules.module._global_forward_hooks)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_logits_are_the_modules_own_and_features_give_them(name, training, grad):
    module, x = make(name)
    own, _ = make(name)
    module.train(training)
    own.train(training)
    wrapper, hooks_before = WithFeatures(module), n_hooks(module)
    for seed in range(2):  # the first pass finds the layer, the second watches it
        with torch.set_grad_enabled(grad):
            torch.manual_seed(seed)
            expected = own(x)
            torch.manual_seed(seed)
            features, logits = wrapper(x)
        assert torch.equal(logits, expected)
        assert features.shape[0] == 6
        assert features.ndim == 2
        if name not in OTHER_HEADS and not (training and name in TWO_HEAD_CALLS):
            fc = module.get_submodule(FC_NAMES.get(name, "fc"))
            assert torch.equal(F.linear(features, fc.weight, fc.bias), logits)
    for (key, value), expected in zip(
        module.state_dict().items(), own.state_dict().values(), strict=True
    ):
        assert torch.equal(value, expected), key  # BatchNorm saw each batch once
    assert n_hooks(module) == hooks_before


@pytest.mark.parametrize("name", ["timm convolution", "timm pair", "no get_classifier"])
def test_a_head_without_one_layer_for_its_features_is_called_twice(name):
    module, x = make(name)
    module.eval()
    features, _ = WithFeatures(module)(x)
    assert torch.equal(features, module.forward_features(x).mean((2, 3)))


class Counting(nn.Module):
    """A body that counts its forward passes, without and with timm's methods."""

    def __init__(self):
        super().__init__()
        self.body, self.fc, self.passes = nn.Linear(6, 5), nn.Linear(5, 4), 0

    def forward_features(self, x):
        self.passes += 1
        return self.body(x)

    def forward(self, x):
        return self.fc(self.forward_features(x))


class CountingTimm(Counting):
    def forward_head(self, x, pre_logits=False):
        return x if pre_logits else self.fc(x)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


@pytest.mark.parametrize("cls", [Counting, CountingTimm])
def test_each_call_is_one_forward_pass(cls):
    module = cls()
    wrapper = WithFeatures(module)
    for calls in (1, 2, 3):
        wrapper(torch.randn(2, 6))
        assert module.passes == calls


@pytest.mark.parametrize(
    "name", ["mlp", "small", "lstm", "shared", "two names", "group norm", "timm ViT"]
)
def test_functional_call_computes_with_the_parameters_it_is_given(name):
    module, x = make(name)
    module.eval()
    wrapper = WithFeatures(module)
    other = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    replaced = {f"module.{key}": value for key, value in other.named_parameters()}
    assert replaced.keys() == dict(wrapper.named_parameters()).keys()
    expected_features, expected = WithFeatures(other)(x)
    own = dict(module.named_parameters())
    for _ in range(2):  # finding the layer, watching it
        features, logits = functional_call(wrapper, replaced, (x,))
        assert torch.equal(logits, expected)
        assert torch.equal(features, expected_features)
    assert all(parameter is own[key] for key, parameter in module.named_parameters())
    assert not torch.allclose(wrapper(x)[1], expected)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["mlp", "small", "wide", "group norm", "shared", "timm ResNet"])
def test_tangents_of_dual_parameters_are_those_of_the_module_by_reverse_mode(name, training):
    module, x = make(name)
    wrapper = WithFeatures(module.double().train(training))
    x = x.double()
    parameters = dict(wrapper.named_parameters())
    direction = {key: torch.randn_like(p) for key, p in parameters.items()}

    def run(parameters):
        torch.manual_seed(0)  # the same dropout masks
        buffers = {key: buffer.clone() for key, buffer in wrapper.named_buffers()}
        return functional_call(wrapper, {**parameters, **buffers}, (x,))

    values, expected = torch.autograd.functional.jvp(
        lambda *values: run(dict(zip(parameters, values, strict=True))),
        tuple(parameters.values()),
        tuple(direction.values()),
    )
    with forward_ad.dual_level():
        duals = {k: forward_ad.make_dual(p, direction[k]) for k, p in parameters.items()}
        outputs = [forward_ad.unpack_dual(output) for output in run(duals)]
    torch.testing.assert_close([output.primal for output in outputs], list(values))
    torch.testing.assert_close([output.tangent for output in outputs], list(expected))


class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.fc, self.fails = nn.Linear(6, 5), nn.Linear(5, 4), True

    def forward(self, x):
        hidden = self.first(x)
        if self.fails:
            raise ArithmeticError("inside forward")
        return self.fc(hidden)


def test_no_hook_stays_after_a_forward_that_raises():
    module, x = Failing(), torch.randn(2, 6)
    wrapper = WithFeatures(module)
    with pytest.raises(ArithmeticError):  # while the layer is searched for
        wrapper(x)
    assert n_hooks(module) == 0
    module.fails = False
    features, _ = wrapper(x)
    assert torch.equal(features, module.first(x))
    module.fails = True
    with pytest.raises(ArithmeticError):  # while it is watched
        wrapper(x)
    assert n_hooks(module) == 0


@pytest.mark.parametrize("name", ["mlp", "small", "lstm", "transformer", "timm ViT"])
@pytest.mark.parametrize("n_calls", [0, 1, 2])
def test_copies_and_pickles_compute_the_same(name, n_calls):
    module, x = make(name)
    wrapper = WithFeatures(module.eval())
    for _ in range(n_calls):
        wrapper(x)
    for twin in (copy.deepcopy(wrapper), pickle.loads(pickle.dumps(wrapper))):
        for ours, theirs in zip(wrapper(x), twin(x), strict=True):
            assert torch.equal(ours, theirs)
        with torch.no_grad():
            twin.module.get_parameter(next(iter(module.state_dict()))).zero_()
        assert not torch.equal(twin(x)[0], wrapper(x)[0])
    assert [f"module.{key}" for key in module.state_dict()] == list(wrapper.state_dict())
    assert torch.equal(pickle.loads(pickle.dumps(module))(x), module(x))


class Calls(nn.Module):
    """Calls a function of itself and x; owns two linear layers."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.fc, self.other = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x):
        return self.function(self, x)


def test_features_of_a_layer_that_runs_on_each_token_are_flattened():
    x = torch.randn(3, 5, 6)
    features, logits = WithFeatures(Calls(lambda net, x: net.fc(x).mean(1)))(x)
    assert torch.equal(features, x.reshape(3, 30))
    assert logits.shape == (3, 4)


def test_layers_that_are_not_the_modules_own_do_not_count():
    foreign = nn.Linear(6, 2)

    def function(net, x):
        logits = net.fc(x)
        foreign(2 * x)
        return logits

    x = torch.randn(3, 6)
    features, _ = WithFeatures(Calls(function))(x)
    assert torch.equal(features, x)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda net, x: (net.fc(x), x), TypeError, "Calls returned tuple, not a tensor"),
        (lambda net, x: net.fc(x)[:, 0], ValueError, r"Calls returned logits of shape \(3,\)"),
        (lambda net, x: x[:, :4], ValueError, "Calls were not found: no nn.Linear ran.*timm"),
        (lambda net, x: net.fc(torch.stack([x, x]))[-1], ValueError, r"\(2, 3, 6\), but .* 3 sam"),
        (lambda net, x: net.fc(x[0]).expand(3, 4), ValueError, r"shape \(6,\), but"),
    ],
)
def test_modules_without_one_row_of_features_per_sample_are_refused(function, error, message):
    module = Calls(function)
    with pytest.raises(error, match=message):
        WithFeatures(module)(torch.randn(3, 6))
    assert n_hooks(module) == 0


def test_a_module_without_linear_layers_is_refused_with_the_cure():
    convolutional = nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten())
    with pytest.raises(ValueError, match=r"of Sequential .* forward_features\(x\)"):
        WithFeatures(convolutional)(torch.randn(3, 1, 8, 8))


def test_a_layer_that_no_longer_runs_is_not_replaced_by_another():
    """Features of one layer in training and of another in prediction would not compare."""
    module = Calls(lambda net, x: net.fc(x) if net.training else net.other(x))
    wrapper = WithFeatures(module)
    wrapper(torch.randn(3, 6))
    with pytest.raises(ValueError, match="'fc' did not run"):
        wrapper.eval()(torch.randn(3, 6))


class CallsHooks(nn.Linear):
    """Calls the global hooks as a module of another thread may, after they were removed."""

    def forward(self, x):
        for hook in [*nn.modules.module._global_forward_hooks.values()]:
            hook(nn.Linear(1, 1), (x,), x)
        return super().forward(x)


def test_modules_of_other_threads_do_no_harm():
    """Torch forgets that a hook takes kwargs when the hook is removed."""
    x = torch.randn(5, 6)
    features, _ = WithFeatures(nn.Sequential(CallsHooks(6, 3)))(x)
    assert torch.equal(features, x)
