"""Any module that returns logits works, whatever its layers."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from sknoisy.networks import MLP, PreActResNet, WideResNet

pytestmark = pytest.mark.usefixtures("small_forests")

METHODS = pytest.mark.parametrize("weighting", ["wnet", "vri"])


class LSTM(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.lstm = nn.LSTM(1, 16, batch_first=True)
        self.fc = nn.Linear(16, n_classes)

    def forward(self, x):
        return self.fc(self.lstm(x[..., None])[0][:, -1])


class Transformer(nn.Module):
    def __init__(self, n_features, n_classes):
        super().__init__()
        self.embedding = nn.Linear(1, 16)
        self.position = nn.Parameter(torch.randn(n_features, 16) / 4)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(16, n_classes)

    def forward(self, x):
        return self.fc(self.encoder(self.embedding(x[..., None]) + self.position).mean(1))


class Embedding(nn.Module):
    """Columns are categories, which standardisation would spoil."""

    def __init__(self, n_features, n_classes):
        super().__init__()
        self.embedding = nn.Embedding(4, 4)
        self.fc = nn.Linear(4 * n_features, n_classes)

    def forward(self, x):
        return self.fc(self.embedding(x.long().clamp(-2, 1) + 2).flatten(1))


class BatchNormMLP(nn.Sequential):
    def __init__(self, n_features, n_classes):
        super().__init__(
            nn.Linear(n_features, 16),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.Linear(16, n_classes),
        )


class GroupNormCNN(nn.Sequential):
    def __init__(self, in_channels, n_classes):
        super().__init__(
            nn.Conv2d(in_channels, 8, 3, padding=1),
            nn.GroupNorm(2, 8),
            nn.SiLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * 4 * 4, n_classes),
        )


class TimmCNN(nn.Module):
    """timm's conventions: a feature map, and a head that pools, drops out and may stop there."""

    def __init__(self, in_channels, n_classes):
        super().__init__()
        self.num_features = 8
        self.conv = nn.Conv2d(in_channels, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.head_drop = nn.Dropout(0.1)
        self.fc = nn.Linear(8 * 2, n_classes)

    def get_classifier(self):
        return self.fc

    def forward_features(self, x):
        return self.bn(self.conv(x)).relu()

    def forward_head(self, x, pre_logits=False):
        x = self.head_drop(nn.functional.adaptive_avg_pool2d(x, (2, 1)).flatten(1))
        return x if pre_logits else self.fc(x)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


def table(n_rows, rng):
    """Eight columns whose mean is above or below zero."""
    y = rng.integers(0, 2, n_rows)
    return rng.normal(2 * y[:, None] - 1, size=(n_rows, 8)), y


def pictures(n_rows, rng):
    """The upper or the lower half of a picture is brighter."""
    y = rng.integers(0, 2, n_rows)
    X = rng.integers(0, 156, size=(n_rows, 8, 8, 3), dtype=np.uint8)
    X[y == 0, :4] += 100
    X[y == 1, 4:] += 100
    return X, y


MODULES = {
    "LSTM": (table, LSTM, None, 16),
    "transformer": (table, Transformer, None, 16),
    "embedding": (table, Embedding, None, 32),
    "BatchNorm": (table, BatchNormMLP, None, 16),
    "dropout": (table, MLP, {"hidden": (16,), "dropout": 0.5, "input_dropout": 0.2}, 16),
    "linear": (table, MLP, {"hidden": ()}, 8),
    "GroupNorm CNN": (pictures, GroupNormCNN, None, 8 * 4 * 4),
    "timm": (pictures, TimmCNN, None, 16),
    "PreActResNet": (pictures, PreActResNet, {"depth": "small"}, 64),
    "WideResNet": (pictures, WideResNet, {"depth": 10, "width": 1}, 64),
}


@METHODS
@pytest.mark.parametrize("name", MODULES)
def test_module_learns(quick, name, weighting, global_random_seed):
    """Above chance, 0.5 for two equal classes, by five standard errors of 200 fair coins."""
    make, module, params, n_penultimate = MODULES[name]
    rng = np.random.default_rng(global_random_seed)
    (X, y), (X_test, y_test) = make(240, rng), make(200, rng)
    clf = quick(
        module=module,
        module_params=params,
        weighting=weighting,
        optimizer="adam",
        lr=0.01,
        max_epochs=4,
        batch_size=16,
    )
    clf.fit(X, y)
    assert clf.score(X_test, y_test) > 0.5 + 5 * 0.5 / np.sqrt(200)
    features = clf.features(X_test)
    assert features.shape == (200, n_penultimate)
    assert np.isfinite(features).all()
    # In eval mode a row does not depend on its batch.
    np.testing.assert_allclose(
        clf.predict_proba(X_test[:3]), clf.predict_proba(X_test)[:3], atol=1e-5
    )


class TiedWeights(nn.Module):
    """Two layers of one weight matrix, the biases of their own."""

    def __init__(self, n_features, n_classes):
        super().__init__()
        self.first, self.second = nn.Linear(n_features, 8), nn.Linear(n_features, 8)
        self.second.weight = self.first.weight
        self.fc = nn.Linear(8, n_classes)

    def forward(self, x):
        return self.fc(self.second(self.first(x).relu()).relu())

    def is_tied(self):
        return self.first.weight is self.second.weight


class TwoNames(nn.Module):
    """One block, batch norm's buffers included, under two names."""

    def __init__(self, n_features, n_classes):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.again = self.block
        self.fc = nn.Linear(8, n_classes)

    def forward(self, x):
        return self.fc(self.again(self.block(x)))

    def is_tied(self):
        return self.block is self.again


class OneName(TwoNames):
    def __init__(self, n_features, n_classes):
        super().__init__(n_features, n_classes)
        del self.again

    def forward(self, x):
        return self.fc(self.block(self.block(x)))


@METHODS
def test_a_second_name_makes_no_difference(quick, weighting):
    X, y = table(100, np.random.default_rng(0))
    one, two = (quick(module=m, weighting=weighting).fit(X, y) for m in (OneName, TwoNames))
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


@METHODS
@pytest.mark.parametrize("module", [TiedWeights, TwoNames])
def test_tied_weights(quick, module, weighting):
    """The members' logits are those of networks that load their states."""
    X, y = table(240, np.random.default_rng(0))
    clf = quick(module=module, weighting=weighting, n_ensemble=2, lr=0.1).fit(X, y)
    assert clf.score(X, y) > 0.8
    states = [state for _, _, state in dict(clf.net_.callbacks_)["ensemble"].members_]
    assert len(states) == 2
    logits, network = [], copy.deepcopy(clf.net_.module_)
    for state in states:
        network.load_state_dict(state)
        with torch.no_grad():
            logits.append(network(torch.from_numpy(X).float()).double())
    expected = torch.stack(logits).mean(0).softmax(1).numpy()
    own = [(id(p), p.clone()) for p in clf.net_.module_.parameters()]
    for twin in (clf, pickle.loads(pickle.dumps(clf)), copy.deepcopy(clf)):
        np.testing.assert_allclose(twin.predict_proba(X), expected, atol=1e-6)
        np.testing.assert_array_equal(twin.features(X), clf.features(X))
        assert twin.net_.module_.is_tied()
    for (identity, value), p in zip(own, clf.net_.module_.parameters(), strict=True):
        assert id(p) == identity
        assert torch.equal(p, value)


def test_a_network_of_timm(quick):
    """Any of them fits as it is, and its features are those that timm says."""
    timm = pytest.importorskip("timm", reason="timm needs torchvision, which is not installed")
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(48) % 2)
    X = rng.integers(0, 156, size=(48, 32, 32, 3), dtype=np.uint8)
    X[y == 0, :16] += 100
    X[y == 1, 16:] += 100
    network = timm.create_model("test_resnet.r160_in1k", pretrained=False, num_classes=2)
    clf = quick(module=network, optimizer="adam", lr=0.01, max_epochs=8, batch_size=16)
    clf.set_params(augment=None, n_ensemble=0).fit(X, y)
    assert clf.score(X, y) > 0.9
    fitted = clf.net_.module_.eval()
    with torch.no_grad():
        rows = clf._scaling.apply(clf._scaling.to_tensor(X))
        expected = fitted.forward_head(fitted.forward_features(rows), pre_logits=True)
    np.testing.assert_allclose(clf.features(X), expected, atol=1e-5)


class SmallestBatch(nn.BatchNorm1d):
    """Batch norm that notes how few rows it had to normalise in training."""

    smallest = 10**9

    def forward(self, x):
        if self.training:
            SmallestBatch.smallest = min(SmallestBatch.smallest, len(x))
        return super().forward(x)


@METHODS
@pytest.mark.parametrize(
    ("n_rows", "batch_size", "smallest"), [(33, 16, 16), (17, 16, 8), (3, 2, 3), (2, 100, 2)]
)
def test_batch_norm_never_sees_a_single_row(quick, weighting, n_rows, batch_size, smallest):
    """Neither as the tail of an epoch nor in a meta batch, of 8 rows at most here."""
    SmallestBatch.smallest = 10**9
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n_rows, 4)), np.arange(n_rows) % 2
    module = nn.Sequential(nn.Linear(4, 5), SmallestBatch(5), nn.Linear(5, 2))
    clf = quick(module=module, weighting=weighting, batch_size=batch_size)
    meta_batch_size = 8 if n_rows == 17 else 100
    clf.set_params(meta_batch_size=meta_batch_size).fit(X, y)
    assert SmallestBatch.smallest == smallest
    assert np.isfinite(clf.predict_proba(X)).all()


def test_running_statistics_belong_to_the_actual_steps(quick):
    """Ten batches of batch norm's own count, although each step makes three passes."""
    X, y = table(50, np.random.default_rng(0))
    clf = quick(module=BatchNormMLP, batch_size=25, max_epochs=5, n_ensemble=0).fit(X, y)
    assert clf.net_.module_[1].num_batches_tracked.item() == 10
