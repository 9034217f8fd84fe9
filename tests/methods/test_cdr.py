"""CDRClassifier: the masked gradients, the held-out rows and the noise rate."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from small_family import noisy_blobs
from torch import nn
from torch.testing import assert_close

from sknoisy import CDRClassifier
from sknoisy.base import NetworkClassifier
from sknoisy.methods.cdr import draw_validation_rows, mask_gradients

X, Y, TRUSTED = noisy_blobs()
SMALL = {"max_epochs": 4, "batch_size": 32, "random_state": 0, "module_params": {"hidden": (8,)}}


def small(**parameters):
    return CDRClassifier(**{**SMALL, **parameters})


def with_gradients():
    """A network of convolution, batch norm and linear layer, after a backward pass."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5)
    ).double()
    module(torch.randn(8, 2, 4, 4, dtype=torch.float64)).square().sum().backward()
    return module


def gradients(module, *, of_weights):
    return [p.grad.clone() for p in module.parameters() if (p.ndim > 1) is of_weights]


# --- the mask -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.4, 0.6, 0.97])
def test_the_largest_products_of_gradient_and_weight_are_kept_and_scaled(rate):
    module = with_gradients()
    before = torch.cat([g.flatten() for g in gradients(module, of_weights=True)])
    values = torch.cat([p.detach().flatten() for p in module.parameters() if p.ndim > 1])
    mask_gradients(module.parameters(), rate)
    after = torch.cat([g.flatten() for g in gradients(module, of_weights=True)])
    n_critical = int((1 - rate) * len(values))
    critical = (before * values).abs().topk(n_critical).indices
    expected = torch.zeros_like(before)
    expected[critical] = (1 - rate) * before[critical]
    assert_close(after, expected, rtol=0, atol=0)
    assert (after == 0).sum() == len(values) - n_critical


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_biases_and_normalisation_layers_keep_their_gradients(rate):
    module = with_gradients()
    before = gradients(module, of_weights=False)
    mask_gradients(module.parameters(), rate)
    assert_close(gradients(module, of_weights=False), before, rtol=0, atol=0)


def test_without_noise_nothing_is_changed():
    module = with_gradients()
    before = gradients(module, of_weights=True)
    mask_gradients(module.parameters(), 0.0)
    assert_close(gradients(module, of_weights=True), before, rtol=0, atol=0)


def test_with_noise_alone_no_weight_is_trained():
    module = with_gradients()
    mask_gradients(module.parameters(), 1.0)
    assert all((g == 0).all() for g in gradients(module, of_weights=True))


def test_a_rate_that_leaves_all_weights_critical_only_scales():
    module = nn.Linear(2, 1, bias=False)
    module(torch.ones(1, 2)).sum().backward()
    mask_gradients(module.parameters(), 1e-17)
    assert_close(module.weight.grad, torch.ones(1, 2))


def test_networks_without_weights_are_left_alone():
    parameter = nn.Parameter(torch.ones(3))
    parameter.sum().backward()
    mask_gradients([parameter, nn.Parameter(torch.ones(2, 2))], 0.5)
    assert_close(parameter.grad, torch.ones(3))


# --- training -----------------------------------------------------------------------------------


def test_without_noise_training_is_plain():
    plain = NetworkClassifier(**SMALL).fit(X, Y)
    clf = small(noise_rate=0.0, validation_fraction=0.0).fit(X, Y)
    assert_array_equal(clf.predict_proba(X), plain.predict_proba(X))


def test_weights_without_gradient_are_shrunk_by_weight_decay():
    """At a rate near 1 the weights follow the decay alone, and the biases are trained."""
    torch.manual_seed(0)
    start = nn.Linear(6, 3)
    clf = small(
        module=start,
        module_params=None,
        noise_rate=0.999999,
        validation_fraction=0.0,
        max_epochs=1,
        batch_size=len(Y),
        lr=0.1,
        optimizer_params={"weight_decay": 0.5},
    ).fit(X, Y)
    trained = clf.net_.module_
    assert_close(trained.weight, (1 - 0.1 * 0.5) * start.weight)
    assert not torch.allclose(trained.bias, (1 - 0.1 * 0.5) * start.bias, atol=1e-4)


def test_an_estimated_rate_is_used_once_it_is_known():
    """Before, training is plain: the first epochs are those of a rate of 0."""
    plain = small(noise_rate=0.0, max_epochs=8).fit(X, Y).history_[:, "train_loss"]
    clf = small(max_epochs=8).fit(X, Y)
    losses = clf.history_[:, "train_loss"]
    assert clf.noise_rate_ > 0
    assert losses[:3] == plain[:3]
    assert all(a != b for a, b in zip(losses[3:], plain[3:], strict=True))


@pytest.mark.parametrize("rate", [-0.1, 1.0, "some"])
def test_noise_rates_outside_0_and_1_are_refused(rate):
    with pytest.raises(ValueError, match="noise_rate"):
        small(noise_rate=rate).fit(X, Y)


# --- held-out rows ------------------------------------------------------------------------------


def test_a_share_of_each_class_is_held_out():
    codes = np.repeat([0, 1, 2, 3], [40, 20, 3, 1])
    drawn = draw_validation_rows(codes, np.ones(64, bool), 0.25, np.random.RandomState(0))
    assert np.bincount(codes[drawn], minlength=4).tolist() == [10, 5, 1, 0]


def test_no_class_is_held_out_completely():
    codes = np.repeat([0, 1], [2, 1])
    drawn = draw_validation_rows(codes, np.ones(3, bool), 0.99, np.random.RandomState(0))
    assert np.bincount(codes[drawn], minlength=2).tolist() == [1, 0]


def test_rows_without_weight_are_not_held_out():
    codes, counted = np.zeros(40, int), np.arange(40) < 20
    drawn = draw_validation_rows(codes, counted, 0.5, np.random.RandomState(0))
    assert drawn.sum() == 10
    assert not drawn[~counted].any()


def test_labels_of_held_out_rows_do_not_change_the_steps():
    """Pairs of two classes exchange their labels, so that each class keeps its number of rows."""
    settings = {"validation_fraction": 0.2, "noise_rate": 0.4}
    clf = small(**settings).fit(X, Y)
    rows, swapped = clf.validation_rows_, Y.copy()
    first, second = (rows[Y[rows] == label][:3] for label in (0, 1))
    swapped[first], swapped[second] = 1, 0
    with pytest.MonkeyPatch.context() as patch:
        mask = np.isin(np.arange(len(Y)), rows)
        patch.setattr("sknoisy.methods.cdr.draw_validation_rows", lambda *_: mask)
        again = small(**settings).fit(X, swapped)
    assert again.history_[:, "train_loss"] == clf.history_[:, "train_loss"]
    assert again.history_[:, "validation_loss"] != clf.history_[:, "validation_loss"]


def test_the_epoch_of_the_smallest_loss_on_held_out_rows_predicts():
    clf = small(validation_fraction=0.3, max_epochs=30, lr=0.3, noise_rate=0.0).fit(X, Y)
    losses, rows = clf.history_[:, "validation_loss"], clf.validation_rows_
    assert np.argmin(losses) < 29
    loss = -np.log(clf.predict_proba(X)[rows, Y[rows]]).mean()
    assert loss == pytest.approx(min(losses), rel=1e-5)


def test_without_held_out_rows_the_last_epoch_predicts():
    clf = small().fit(X, Y)
    assert len(clf.validation_rows_) == 0
    assert "validation_loss" not in clf.history_[-1]
    module, inputs = clf.net_.module_, torch.from_numpy((X - X.mean(axis=0)) / X.std(axis=0))
    with torch.no_grad():
        assert_close(
            torch.from_numpy(clf.predict_proba(X)),
            module(inputs.float()).softmax(dim=1).double(),
            rtol=1e-4,
            atol=1e-5,
        )


@pytest.mark.parametrize("params", [{"n_ensemble": 2}, {"weight_average": 0.9}])
def test_one_choice_of_the_epoch_at_a_time(params, blobs):
    with pytest.raises(ValueError, match=r"validation_fraction=0.1 chooses the epoch"):
        CDRClassifier(validation_fraction=0.1, **params).fit(*blobs)
