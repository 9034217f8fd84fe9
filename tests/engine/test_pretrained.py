"""``pretrained``: networks that start from a representation, an encoder or a state dict."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from torch import nn

from sknoisy import CLIDMUClassifier, DMLPClassifier, FaMUSClassifier, MLNTClassifier
from sknoisy.base import NetworkClassifier
from sknoisy.networks import PreActResNet
from sknoisy.noise import symmetric
from sknoisy.representation import SCARF, SimCLR

QUICK = {"max_epochs": 2, "batch_size": 16, "random_state": 0}


@pytest.fixture
def simclr(images):
    return SimCLR(**QUICK).fit(images[0])


def untrained(classifier):
    """Return the classifier with a learning rate at which nothing moves."""
    return classifier.set_params(lr=1e-30, optimizer_params={"weight_decay": 0.0})


def weights_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_equal_weights(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-20)


def body_of(module):
    """The parameters, without statistics, that are not the head's."""
    return {name: p.detach() for name, p in module.named_parameters() if not name.startswith("fc")}


def test_network_starts_from_the_encoder_and_its_scaling(simclr, images):
    X, y = images
    classifier = untrained(NetworkClassifier(pretrained=simclr, **QUICK)).fit(X, y)
    module = classifier.net_.module_
    assert type(module) is PreActResNet
    assert [*module.state_dict()] == [*PreActResNet(3, 2, depth="small").state_dict()]
    assert_equal_weights(body_of(module), body_of(simclr.encoder_))
    assert module.fc.out_features == len(classifier.classes_)
    for name in ("mean_", "scale_"):
        ours, theirs = (getattr(e._scaling, name) for e in (classifier, simclr))
        np.testing.assert_array_equal(ours, theirs)


def test_scaling_is_that_of_the_rows_of_the_representation(images):
    X, y = images
    simclr = SimCLR(**QUICK).fit(X // 2)
    classifier = NetworkClassifier(pretrained=simclr, **QUICK).fit(X, y)
    np.testing.assert_array_equal(classifier._scaling.mean_, simclr._scaling.mean_)


def test_both_networks_start_from_it_with_heads_of_their_own(simclr, images):
    classifier = FaMUSClassifier(pretrained=simclr, n_warmup_epochs=1, **QUICK)
    first, second = (net.module_ for net in untrained(classifier).fit(*images).nets_)
    assert_equal_weights(body_of(first), body_of(second))
    assert not torch.equal(first.fc.weight, second.fc.weight)


def test_the_callers_weights_do_not_change(simclr, images):
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8))
    state = PreActResNet(3, 2, depth="small").state_dict()
    for start, module in ((simclr, simclr.encoder_), (encoder, encoder), (state, None)):
        tensors = state if module is None else module.state_dict()
        before = copy.deepcopy(tensors)
        NetworkClassifier(pretrained=start, **QUICK).fit(*images)
        assert_equal_weights(dict(tensors), dict(before))


def test_an_encoder_of_the_users_own_gets_a_linear_layer(images):
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU())
    encoder[1].requires_grad_(False)
    classifier = NetworkClassifier(pretrained=encoder, **QUICK).fit(*images)
    module = classifier.net_.module_
    assert torch.equal(module.encoder[1].weight, encoder[1].weight)  # frozen
    assert module.fc.in_features == classifier.features(images[0]).shape[1] == 8


def test_a_whole_network_as_encoder_loses_its_last_layer(images):
    network = PreActResNet(3, 100, depth="small")
    module = NetworkClassifier(pretrained=network, **QUICK).fit(*images).net_.module_
    assert module.fc.out_features == len(np.unique(images[1]))


def test_tables_start_from_scarf(blobs):
    X, y = blobs
    X[::7, 2] = np.nan
    scarf = SCARF(**QUICK).fit(X)
    classifier = untrained(NetworkClassifier(pretrained=scarf, **QUICK)).fit(X, y)
    assert_equal_weights(body_of(classifier.net_.module_), body_of(scarf.encoder_))
    assert CLIDMUClassifier(pretrained=scarf, **QUICK).fit(X, y).score(X, y) > 0.5


@pytest.mark.parametrize("without_head", [True, False])
def test_a_state_dict_is_loaded_and_its_head_may_be_missing(images, without_head):
    state = weights_of(PreActResNet(3, 2, depth="small"))
    if without_head:
        state = {name: value for name, value in state.items() if not name.startswith("fc")}
    classifier = untrained(NetworkClassifier(pretrained=state, **QUICK)).fit(*images)
    found = classifier.net_.module_.state_dict()
    names = [name for name in state if "running" not in name and "num_batches" not in name]
    assert_equal_weights({n: found[n] for n in names}, {n: state[n] for n in names})


def test_the_head_of_a_users_module_is_its_last_linear_layer(blobs):
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    state = {name: value for name, value in module.state_dict().items() if name[0] == "0"}
    NetworkClassifier(module=module, pretrained=state, **QUICK).fit(*blobs)
    del state["0.bias"]
    with pytest.raises(ValueError, match=r"lacks 0\.bias"):
        NetworkClassifier(module=module, pretrained=state, **QUICK).fit(*blobs)


def test_a_state_that_does_not_fit_names_layers_and_shapes(images):
    state = weights_of(PreActResNet(1, 2, depth="small"))
    state["stem.extra"] = state["norm.bias"]
    del state["norm.weight"]
    state["norm.bias"] = np.zeros(64)
    classifier = DMLPClassifier(pretrained=state, **QUICK)
    with pytest.raises(ValueError, match="does not fit PreActResNet") as error:
        classifier.fit(*images)
    message = str(error.value)
    assert "lacks norm.weight" in message
    assert "unknown stem.extra" in message
    assert "stem.weight (16, 1, 3, 3) instead of (16, 3, 3, 3)" in message
    assert "norm.bias ndarray instead of (64,)" in message
    assert not hasattr(classifier, "purifier_")  # before the purification


def test_what_cannot_be_a_start_is_refused(simclr, images, blobs):
    X, y = images
    encoder = simclr.encoder_
    for params, error, match in [
        ({"pretrained": SimCLR()}, NotFittedError, "FrozenEstimator"),
        ({"pretrained": clone(simclr)}, NotFittedError, "call its fit"),
        ({"pretrained": PCA().fit(blobs[0])}, ValueError, "PCA has no encoder"),
        ({"pretrained": SimCLR}, TypeError, "an instance and not a class"),
        ({"pretrained": encoder, "module": PreActResNet}, ValueError, "so does module"),
        ({"pretrained": simclr, "module_params": {"depth": 18}}, ValueError, "module_params"),
        ({"pretrained": nn.Conv2d(3, 4, 3)}, ValueError, r"features of shape \(2, d\)"),
        ({"pretrained": nn.Linear(5, 4)}, ValueError, "does not take rows"),
    ]:
        with pytest.raises(error, match=match):
            NetworkClassifier(**params, **QUICK).fit(X, y)
    with pytest.raises(ValueError, match="image_shape_"):
        NetworkClassifier(pretrained=simclr, **QUICK).fit(*blobs)
    with pytest.raises(ValueError, match="unit of fit"):
        NetworkClassifier(pretrained=simclr, **QUICK).fit(X / 255, y)


def test_a_frozen_representation_survives_a_copy(simclr, images):
    classifier = NetworkClassifier(pretrained=FrozenEstimator(simclr), **QUICK)
    found = clone(untrained(classifier)).fit(*images).net_.module_
    assert_equal_weights(body_of(found), body_of(simclr.encoder_))


def test_every_training_of_mlnt_starts_from_it(simclr, images):
    classifier = MLNTClassifier(pretrained=simclr, n_synthetic=2, **QUICK).fit(*images)
    assert classifier.net_.module_.fc.in_features == 64


@pytest.mark.parametrize("classifier", [NetworkClassifier(), DMLPClassifier()])
def test_images_too_small_for_the_network_are_refused_first(classifier):
    X, y = np.zeros((20, 4, 8, 3), dtype=np.uint8), np.arange(20) % 2
    with pytest.raises(ValueError, match=r"4 x 8 pixels.*8 x 8 or more.*Enlarge"):
        classifier.fit(X, y)
    assert not hasattr(classifier, "purifier_")


def test_a_self_supervised_start_helps_on_images_with_wrong_labels():
    """As in C2D: with half of 300 labels redrawn, three seeds."""
    digits = load_digits()
    X, y = digits.images[..., None], digits.target
    train, test = slice(0, 300), slice(1000, None)
    simclr = SimCLR(augment="crop+color", max_epochs=15, batch_size=100, random_state=0)
    simclr.fit(X[:600])
    settings = {"max_epochs": 8, "augment": "crop"}
    gains = []
    for seed in range(3):
        noisy = symmetric(y[train], 0.5, random_state=seed).y
        scores = [
            NetworkClassifier(pretrained=start, random_state=seed, **settings)
            .fit(X[train], noisy)
            .score(X[test], y[test])
            for start in (simclr, None)
        ]
        gains.append(scores[0] - scores[1])
    assert min(gains) > 0, gains
    assert np.mean(gains) > 0.05, gains
