"""Default networks: sizes, shapes, heads, initial weights and what they refuse."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad

from sknoisy.networks import MLP, Dropout, PreActResNet, WideResNet
from sknoisy.networks._preactivation import PreActBlock


def n_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("hidden", [(), (7,), (16, 5, 9)])
def test_mlp_has_one_weight_per_pair_of_units_and_one_bias_per_unit(hidden):
    widths = (6, *hidden, 4)
    expected = sum((a + 1) * b for a, b in pairwise(widths))
    assert n_parameters(MLP(6, 4, hidden=hidden)) == expected


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 3, 2), (2, 6, 1)])
def test_mlp_refuses_input_of_another_shape(shape):
    with pytest.raises(ValueError, match=rf"\(n_samples, 6\), got .*{shape[-1]}"):
        MLP(6, 4)(torch.zeros(shape))


@pytest.mark.parametrize(("where", "layer"), [("input_dropout", 0), ("dropout", 3)])
def test_mlp_dropout_zeroes_its_share_in_training_only(where, layer):
    """The expected share of zeros is p, its standard error sqrt(p (1 - p) / n)."""
    torch.manual_seed(0)
    p, x = 0.3, torch.ones(200, 50)
    mlp = MLP(50, 2, hidden=(50,), **{where: p})
    for parameter in mlp.parameters():  # every hidden unit is active
        nn.init.ones_(parameter)
    outputs = []
    mlp.layers[layer].register_forward_hook(lambda _, args, output: outputs.append(output))
    mlp(x)
    mlp.eval()(x)
    share = (outputs[0] == 0).float().mean().item()
    assert abs(share - p) < 4 * (p * (1 - p) / x.numel()) ** 0.5
    assert (outputs[1] != 0).all()


def residual_parameters(in_channels, n_classes, stem, widths, n_blocks):
    """Sum the layers of Figure 4e of He et al. (2016b), with 1x1 convolutions for shortcuts."""
    total, before = 9 * in_channels * stem, stem
    for stage, width in enumerate(widths):
        for block in range(n_blocks):
            total += 2 * before + 9 * before * width + 2 * width + 9 * width * width
            if block == 0 and (stage > 0 or before != width):
                total += before * width
            before = width
    return total + 2 * before + (before + 1) * n_classes


# Published: kuangliu's PreAct-18 and He et al.'s and Zagoruyko & Komodakis' tables, in millions.
RESIDUAL = [
    (lambda: PreActResNet(3, 10, depth=18), (64, (64, 128, 256, 512), 2), 17, 11.17),
    (lambda: PreActResNet(3, 10, depth=32), (16, (16, 32, 64), 5), 31, 0.46),
    (lambda: WideResNet(3, 10, depth=28, width=10), (16, (160, 320, 640), 4), 25, 36.5),
    (lambda: WideResNet(3, 10, depth=40, width=2), (16, (32, 64, 128), 6), 37, 2.2),
]


@pytest.mark.parametrize(("build", "sizes", "n_convolutions", "millions"), RESIDUAL)
def test_residual_networks_have_the_published_sizes(build, sizes, n_convolutions, millions):
    with torch.device("meta"):
        network = build()
    assert n_parameters(network) == residual_parameters(3, 10, *sizes)
    assert n_parameters(network) / 1e6 == pytest.approx(millions, rel=0.02)
    kernels = [m.kernel_size for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert kernels.count((3, 3)) == n_convolutions  # and one linear layer make the depth


def test_small_network_halves_twice():
    network = PreActResNet(1, 10, depth="small")
    # As residual_parameters counts, but here the first stage has a stride too.
    assert n_parameters(network) == residual_parameters(1, 10, 16, (32, 64), 1)
    assert network.forward_features(torch.zeros(2, 1, 8, 12)).shape == (2, 64, 2, 3)


SMALL_NETWORKS = {
    "mlp": (lambda: MLP(6, 4, hidden=(16, 8), dropout=0.3, input_dropout=0.2), (6,)),
    "linear": (lambda: MLP(6, 4, hidden=()), (6,)),
    "small": (lambda: PreActResNet(1, 4, depth="small"), (1, 8, 8)),
    "preact-32": (lambda: PreActResNet(3, 4, depth=32), (3, 9, 13)),
    "wide": (lambda: WideResNet(2, 4, depth=10, width=1, dropout=0.3), (2, 10, 8)),
}


@pytest.mark.parametrize(("build", "shape"), SMALL_NETWORKS.values(), ids=SMALL_NETWORKS)
def test_forward_is_the_head_of_the_features(build, shape):
    torch.manual_seed(0)
    network, x = build().eval(), torch.randn(6, *shape)
    features = network.forward_features(x)
    penultimate = network.forward_head(features, pre_logits=True)
    logits = network(x)
    assert network.get_classifier() is network.fc
    assert logits.shape == (6, 4)
    assert torch.equal(network.forward_head(features), logits)
    torch.testing.assert_close(penultimate @ network.fc.weight.T + network.fc.bias, logits)


@pytest.mark.parametrize("depth", [18, 32, "small"])
def test_convolutions_start_with_the_variance_of_he(depth):
    """The weights have variance 2 / (k k c_out); 4 standard errors of a sample variance."""
    torch.manual_seed(0)
    for module in PreActResNet(3, 10, depth=depth).modules():
        if isinstance(module, nn.Conv2d):
            variance = 2 / (module.out_channels * module.kernel_size[0] ** 2)
            error = variance * (2 / module.weight.numel()) ** 0.5
            assert abs(module.weight.var().item() - variance) < 4 * error


@pytest.mark.parametrize(("width", "stride"), [(4, 1), (4, 2), (6, 1), (6, 2)])
def test_block_is_that_of_identity_mappings(width, stride):
    """He et al. (2016b), Figure 4e; a shortcut that changes the shape starts at the activation."""
    torch.manual_seed(0)
    block, x = PreActBlock(4, width, stride).eval(), torch.randn(3, 4, 9, 8)
    for norm in (block.norm1, block.norm2):
        for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(values, 0.5, 1.5)

    def activate(norm, x):
        mean, variance, scale, shift = (
            values.reshape(-1, 1, 1)
            for values in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        return ((x - mean) / (variance + norm.eps).sqrt() * scale + shift).clamp(min=0)

    first = activate(block.norm1, x)
    inner = F.conv2d(first, block.conv1.weight, stride=stride, padding=1)
    expected = F.conv2d(activate(block.norm2, inner), block.conv2.weight, padding=1)
    if (width, stride) == (4, 1):
        assert block.shortcut is None
        expected += x
    else:
        expected += F.conv2d(first, block.shortcut.weight, stride=stride)
    torch.testing.assert_close(block(x), expected)


def test_block_drops_out_between_its_convolutions():
    torch.manual_seed(0)
    p, inputs = 0.3, []
    block, x = PreActBlock(4, 4, dropout=p), torch.randn(50, 4, 8, 8)
    block.conv2.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    block(x)
    activation = F.relu(block.norm2(block.conv1(F.relu(block.norm1(x)))))
    kept = (inputs[0] != 0)[activation > 0]
    assert abs(kept.float().mean().item() - (1 - p)) < 4 * (p * (1 - p) / len(kept)) ** 0.5
    torch.testing.assert_close(inputs[0], (inputs[0] != 0) * activation / (1 - p))


def test_images_that_do_not_fit_are_refused():
    network = PreActResNet(3, 10, depth="small")
    with pytest.raises(ValueError, match=r"\(n_samples, 3, H, W\).* got \(2, 8, 8, 3\)"):
        network(torch.zeros(2, 8, 8, 3))
    with pytest.raises(ValueError, match=r">= 8, got \(2, 3, 8, 7\)"):
        network(torch.zeros(2, 3, 8, 7))
    with pytest.raises(TypeError, match=r"got torch\.uint8"):
        network(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


def test_sizes_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match=r"depth=34 .*\[18, 32, 'small'\]"):
        PreActResNet(3, 10, depth=34)
    for depth in (4, 18, 27):
        with pytest.raises(ValueError, match=rf"depth={depth} is not 6 n \+ 4"):
            WideResNet(3, 10, depth=depth)
    with pytest.raises(ValueError, match="width=0"):
        WideResNet(3, 10, width=0)


def test_dropout_derivative_in_both_modes_is_the_mask():
    torch.manual_seed(0)
    dropout = Dropout(0.4)
    x, tangent = torch.randn(2, 50, 20)
    x.requires_grad_()

    def replay(x):
        torch.manual_seed(1)
        return dropout(x)

    mask = replay(torch.ones_like(x))
    torch.testing.assert_close(mask.unique(), torch.tensor([0, 1 / 0.6]))
    with forward_ad.dual_level():
        output = forward_ad.unpack_dual(replay(forward_ad.make_dual(x, tangent)))
    assert torch.equal(output.primal, x * mask)
    assert torch.equal(output.tangent, tangent * mask)
    (grad,) = torch.autograd.grad(replay(x), x, tangent)
    assert torch.equal(grad, tangent * mask)
