"""The nets for rows with and without labels: their losses against references, and limit cases.

The rows are unit vectors: a mixture of them holds the shares of its rows.
"""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax, softmax
from semi_supervised_nets import (
    LABELED,
    N_CLASSES,
    N_FEATURES,
    NETS,
    UNLABELED,
    N,
    Steps,
    fitted,
    make_module,
    same_weights,
    unit_data,
    weights_of,
)
from skorch.callbacks import Callback
from torch import nn

from sknoisy._engine.net import DeviceNet
from sknoisy.methods.semi_supervised import ContrastiveMixUpNet, MixMatchNet
from sknoisy.networks import Dropout
from sknoisy.representation.simclr import nt_xent

WEIGHTS = torch.linspace(0, 2, N, dtype=torch.float64)
ONE_HOT = np.eye(N_CLASSES)[unit_data().targets]


def logits_of(module, X):
    with torch.no_grad():
        return module(X).numpy()


def guesses(temperature):
    """Labels of the rows without, from a network at its start whose views are the rows."""
    X = unit_data().rows.tensor[UNLABELED]
    powers = softmax(logits_of(make_module(), X), axis=1) ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def mixmatch_loss(module, mixtures, targets, weights, weight, prior_weight):
    """The loss as the docstring has it, by numpy, at targets that do not depend on the module."""
    z, shares = logits_of(module, mixtures), mixtures.numpy()
    is_labeled = np.arange(len(z)) % N < len(LABELED)
    log_p, p = log_softmax(z, axis=1), softmax(z, axis=1)
    mixed_weights = shares @ weights
    mixed = shares @ (weights[:, None] * targets) / np.maximum(mixed_weights, 1e-300)[:, None]
    cross_entropy = -(mixed_weights * (mixed * log_p).sum(axis=1))[is_labeled].mean()
    squares = mixed_weights * ((p - mixed) ** 2).mean(axis=1)
    of_labels = weights[:12] @ ONE_HOT[:12]
    prior = of_labels / of_labels.sum()
    mean = np.average(p, axis=0, weights=mixed_weights)
    divergence = (prior * np.log(prior / mean)).sum()
    return cross_entropy + weight * squares[~is_labeled].mean() + prior_weight * divergence


def check_step(net, reference):
    """The loss is that of a reference, and so is the gradient, along itself."""
    start = make_module()
    assert_allclose(net.history[0]["train_loss"], reference(start), rtol=1e-10)
    step = weights_of(net.module_) - weights_of(start)
    ahead, behind = (moved(start, share * step) for share in (1e-4, -1e-4))
    slope = (reference(ahead) - reference(behind)) / 2e-4
    assert_allclose(slope, -(step @ step) / net.lr, rtol=1e-5)


def moved(module, step):
    """The module after a step of all parameters."""
    module = copy.deepcopy(module)
    nn.utils.vector_to_parameters(torch.from_numpy(weights_of(module) + step), module.parameters())
    return module


@pytest.mark.parametrize("temperature", [0.5, 1.0])
@pytest.mark.parametrize("alpha", [0.0, 2.0])
@pytest.mark.parametrize("sample_weight", [None, WEIGHTS])
def test_mixmatch_steps_along_the_gradient_of_a_plain_reference(alpha, temperature, sample_weight):
    """Its loss is that of numpy, and so is its gradient, in which the guesses are constants."""
    steps = Steps()
    net = fitted(
        MixMatchNet,
        data=unit_data(sample_weight=sample_weight).only(LABELED),
        alpha=alpha,
        corruption_rate=0,
        temperature=temperature,
        unlabeled_weight=10.0,
        n_ramp_epochs=0,
        prior_weight=2.0,
        callbacks=[steps],
    )
    # Eight rows without labels stand beside twelve with: the weight is less by as much.
    reference = partial(
        mixmatch_loss,
        mixtures=steps.in_training[0],
        targets=np.concatenate([ONE_HOT[:12], guesses(temperature)]),
        weights=np.ones(N) if sample_weight is None else sample_weight.numpy(),
        weight=10 * 8 / 12,
        prior_weight=2,
    )
    check_step(net, reference)


@pytest.mark.parametrize("alpha", [0.0, 2.0])
@pytest.mark.parametrize("sample_weight", [None, WEIGHTS])
def test_mixup_and_contrast_step_along_the_gradient_of_a_plain_reference(alpha, sample_weight):
    steps, heads = Steps(), []
    net = fitted(
        ContrastiveMixUpNet,
        data=unit_data(sample_weight=sample_weight).only(LABELED),
        alpha=alpha,
        corruption_rate=0,
        contrastive_weight=0.7,
        temperature=0.3,
        callbacks=[steps, KeepHead(heads)],
    )
    weights = np.ones(N) if sample_weight is None else sample_weight.numpy()
    mixtures, views = steps.in_training[0].split([12, 40])

    def reference(module):
        log_p = log_softmax(logits_of(module, mixtures), axis=1)
        targets = mixtures.numpy() @ (weights[:, None] * ONE_HOT)
        with torch.no_grad():
            contrast = nt_xent(heads[0](module[:2](views)), 0.3).item()
        return -(targets * log_p).sum(axis=1).mean() + 0.7 * contrast

    check_step(net, reference)


class KeepHead(Callback):
    """Keep the projection head as it is when training begins."""

    def __init__(self, heads):
        self.heads = heads

    def on_train_begin(self, net, **kwargs):
        self.heads.append(copy.deepcopy(net.head_))


# Limit cases


@pytest.mark.parametrize("cls", NETS)
def test_without_mixtures_views_and_other_terms_it_is_plain_cross_entropy(cls):
    """Of two equal views, the mean is that of one."""
    none = {"prior_weight": 0} if cls is MixMatchNet else {"contrastive_weight": 0}
    data = unit_data(sample_weight=WEIGHTS).only(LABELED)
    net = fitted(cls, data=data, unlabeled=None, alpha=0, corruption_rate=0, max_epochs=5, **none)
    plain = fitted(DeviceNet, data=data, max_epochs=5)
    assert_allclose(weights_of(net.module_), weights_of(plain.module_), rtol=1e-9)


@pytest.mark.parametrize("cls", NETS)
@pytest.mark.parametrize("unlabeled", [None, torch.arange(0)])
def test_where_no_row_is_without_label_rows_with_labels_are_mixed(cls, unlabeled):
    steps = Steps()
    fitted(cls, unlabeled=unlabeled, alpha=2.0, corruption_rate=0, callbacks=[steps])
    seen = steps.in_training[0].numpy()
    assert_allclose(seen.sum(axis=1), 1)
    assert (seen[:, 12:] == 0).all()
    n_mixed = 24 if cls is MixMatchNet else 12
    largest = seen[:n_mixed].max(axis=1)
    assert len(np.unique(largest[largest < 1].round(9))) == 1  # one share for all of a step


@pytest.mark.parametrize("cls", NETS)
@pytest.mark.parametrize(("n_unlabeled", "n_taken"), [(1, [1, 1]), (3, [3, 3]), (8, [6, 6])])
def test_as_many_rows_without_labels_as_a_batch_has_or_all_of_them(cls, n_unlabeled, n_taken):
    steps = Steps()
    fitted(
        cls,
        unlabeled=UNLABELED[:n_unlabeled],
        batch_size=6,
        alpha=0,
        corruption_rate=0,
        callbacks=[steps],
    )
    rows = [np.unique(seen.argmax(dim=1)) for seen in steps.in_training]
    assert [(step >= 12).sum() for step in rows] == n_taken
    assert_array_equal(np.sort(np.concatenate([step[step < 12] for step in rows])), LABELED)
    assert max(step.max() for step in rows) < 12 + n_unlabeled


@pytest.mark.parametrize("cls", NETS)
def test_labels_of_rows_without_labels_are_not_read(cls):
    y = unit_data().targets.clone()
    y[UNLABELED] = (y[UNLABELED] + 1) % N_CLASSES
    data = unit_data(y=y).only(LABELED)
    assert same_weights(fitted(cls, max_epochs=3), fitted(cls, data=data, max_epochs=3))


@pytest.mark.parametrize("cls", NETS)
def test_the_label_of_a_row_without_weight_is_not_read(cls):
    weights = torch.ones(N, dtype=torch.float64)
    weights[0] = 0
    y = unit_data().targets.clone()
    y[0] = 2
    ends = [
        fitted(cls, data=unit_data(y=labels, sample_weight=weights).only(LABELED), alpha=2.0)
        for labels in (None, y)
    ]
    assert same_weights(*ends)
    assert not same_weights(fitted(cls), fitted(cls, data=unit_data(y=y).only(LABELED)))


def test_guesses_are_made_without_dropout():
    steps = Steps()
    fitted(MixMatchNet, make_module(Dropout(0.5)), alpha=0, callbacks=[steps])
    guessed, mixtures = steps.aside[0], steps.in_training[0]
    assert_array_equal(np.unique(guessed.argmax(dim=1)), UNLABELED)
    assert len(mixtures) == 2 * N


def test_running_statistics_are_those_of_the_mixtures_alone():
    steps = Steps()
    net = fitted(
        MixMatchNet, make_module(nn.BatchNorm1d(N_FEATURES, momentum=1.0)), callbacks=[steps]
    )
    with torch.no_grad():
        hidden = make_module()[0](steps.in_training[0])
    assert_allclose(net.module_[1].running_mean, hidden.mean(dim=0))
    assert_allclose(net.module_[1].running_var, hidden.var(dim=0))
    assert net.module_[1].num_batches_tracked == 1
