"""Every parameter of the self-supervised transformers has an effect, and bad ones an answer."""

import inspect
import warnings

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EarlyStopping
from torch import nn
from torch.optim.lr_scheduler import StepLR

from sknoisy._engine.rows import TensorRows
from sknoisy._engine.scaling import InputScaling
from sknoisy._engine.views import ImageViews
from sknoisy.exceptions import InterruptedFitWarning, NonFiniteLossError
from sknoisy.representation import SCARF, MoCo, SimCLR
from sknoisy.representation.scarf import FeatureCorruption

METHODS = pytest.mark.parametrize("method", [SimCLR, MoCo, SCARF])
WITH_IMAGES = pytest.mark.parametrize("method", [SimCLR, MoCo])
SMALL = {"max_epochs": 2, "batch_size": 32, "encoder_params": {"hidden": (8,)}, "random_state": 0}


def fit(method, X, **parameters):
    return method(**{**SMALL, **parameters}).fit(X)


# --- each parameter ------------------------------------------------------------------------------

CHANGES = {
    "encoder": nn.Linear(6, 8),
    "encoder_params": {"hidden": (9, 8)},
    "projection_dim": 5,
    "temperature": 0.05,
    "optimizer": "sgd",
    "optimizer_params": {"weight_decay": 0.5},
    "lr": 0.02,
    "lr_schedule": "constant",
    "max_epochs": 3,
    "batch_size": 60,
    "standardize": False,
    "precision": "bfloat16",
    "random_state": 1,
    "augment": "corruption rate 1",
    "queue_size": 3,
    "momentum": 0.2,
    "corruption_rate": 0.2,
}
TESTED_ELSEWHERE = {"callbacks", "checkpoint", "device", "verbose"}


def all_columns(rows, generator):
    """Corrupts every entry."""
    order = torch.rand(rows.shape, generator=generator).argsort(dim=0)
    return rows.gather(0, order)


@METHODS
def test_each_parameter_changes_the_features(method, blobs):
    X = 2 * blobs[0]
    default = fit(method, X).transform(X)
    parameters = inspect.signature(method).parameters
    assert parameters.keys() <= CHANGES.keys() | TESTED_ELSEWHERE
    for name in parameters.keys() - TESTED_ELSEWHERE:
        changed = {name: all_columns if name == "augment" else CHANGES[name]}
        if name == "encoder":
            changed["encoder_params"] = None
        features = fit(method, X, **changed).transform(X)
        assert np.abs(features - default).max() > 1e-4, name


@METHODS
def test_temperature_and_projection_reach_loss_and_head(method, blobs, monkeypatch):
    seen = []
    loss = method._loss

    def spy(output, temperature):
        seen.append((output.shape, temperature))
        return loss(output, temperature)

    monkeypatch.setattr(method, "_loss", staticmethod(spy))
    kept = {"queue_size": 40} if method is MoCo else {}
    fit(method, blobs[0], temperature=0.7, projection_dim=11, max_epochs=1, **kept)
    # 121 rows in batches of 32: the projections of both views, or similarities to keys
    sizes = [32, 32, 32, 25]
    shapes = [(n, 41) for n in sizes] if method is MoCo else [(2 * n, 11) for n in sizes]
    assert seen == [(shape, 0.7) for shape in shapes]


def test_what_auto_stands_for(blobs, images, monkeypatch):
    """Views of images by crop, flip and colour; of tables by corruption of 30 %, in SCARF 60 %."""
    views = {}

    def spy(self, data):
        views[type(self).__name__] = data.augment.augmentations
        raise KeyError  # no more is needed

    monkeypatch.setattr(SCARF.__mro__[1], "_build_network", spy)
    for method in (SimCLR, MoCo, SCARF):
        with pytest.raises(KeyError):
            fit(method, blobs[0])
    for method in (SimCLR, MoCo):
        first, second = views[method.__name__]
        assert first is second
        assert (type(first), first.rate) == (FeatureCorruption, 0.3)
        with pytest.raises(KeyError):
            fit(method, images[0])
        view = views[method.__name__][0]
        assert (type(view), view.flip, view.color) == (ImageViews, True, True)
    assert views["SCARF"][0] is None
    assert views["SCARF"][1].rate == 0.6


@WITH_IMAGES
def test_names_of_augmentations(method, images):
    """All differ, also from the callable that does nothing, and that from None in nothing."""
    X = images[0]
    names = ("flip+crop+color", "crop+color", "flip+crop", "crop", None, lambda rows, _: rows)
    features = {
        name: fit(method, X, augment=name, encoder_params=None).transform(X) for name in names
    }
    *different, none, nothing = features.values()
    np.testing.assert_array_equal(none, nothing)
    for i, first in enumerate([*different, none]):
        assert all(not np.array_equal(first, other) for other in different[:i])
    auto = fit(method, X, augment="auto", encoder_params=None).transform(X)
    np.testing.assert_array_equal(auto, features["flip+crop+color"])


def test_augmentation_of_a_table_sees_whole_scaled_batches(blobs):
    X, seen = blobs[0], []

    def augment(rows, generator):
        seen.append(rows)
        return rows + 0.1 * torch.randn(rows.shape, generator=generator)

    fit(SimCLR, X, augment=augment, max_epochs=1)
    assert [len(rows) for rows in seen] == [2, 2, *np.repeat([32, 32, 32, 25], 2)][2:]
    scaled = torch.cat(seen[::2]).double()
    assert scaled.mean().item() == pytest.approx(0, abs=1e-6)
    assert scaled.std(dim=0, correction=0).numpy() == pytest.approx(np.ones(6), abs=1e-5)


def test_learning_rate_schedules(blobs):
    def rates(lr_schedule):
        settings = {"lr_schedule": lr_schedule, "max_epochs": 4, "lr": 0.5}
        history = fit(SCARF, blobs[0], **settings).history_
        return history[:, "event_lr"] if "event_lr" in history[0] else None

    assert rates("constant") is None
    assert rates(lambda optimizer: StepLR(optimizer, 2, gamma=0.1)) == [0.5, 0.5, 0.05, 0.05]
    cosine = 0.01 + 0.49 * (1 + np.cos(np.pi * np.arange(4) / 4)) / 2
    np.testing.assert_allclose(rates("cosine"), cosine)


@METHODS
def test_defaults_of_weight_decay_and_momentum(method, blobs, monkeypatch):
    groups = []

    class Recorder(Callback):
        def on_train_begin(self, net, **kwargs):
            groups.append(dict(net.optimizer_.param_groups[0]))

    for optimizer, params in (("adam", None), ("sgd", None), ("sgd", {"weight_decay": 0.3})):
        settings = {"optimizer": optimizer, "optimizer_params": params, "max_epochs": 1}
        fit(method, blobs[0], callbacks=[Recorder()], **settings)
    decay = {SimCLR: 1e-6, MoCo: 1e-4, SCARF: 0.0}[method]
    assert [group["weight_decay"] for group in groups] == [decay, decay, 0.3]
    assert groups[1]["momentum"] == 0.9


@pytest.mark.parametrize("n", [30, 500])
def test_queue_is_no_longer_than_the_data(n, global_random_seed):
    X = np.random.default_rng(global_random_seed).normal(size=(n, 4))
    assert fit(MoCo, X, queue_size=100, max_epochs=1).queue_size_ == min(n, 100)


class SeeModes(Callback):
    """Note at each batch whether parts of the module are in training mode."""

    def __init__(self):
        self.seen = []

    def on_batch_end(self, net, **kwargs):
        self.seen.append({part.training for part in net.module_.modules()})


@METHODS
def test_all_parts_train_from_the_first_batch_on(method, blobs):
    """Dropout and batch norm of the encoder included."""
    modes = SeeModes()
    fit(method, blobs[0], callbacks=[modes])
    assert modes.seen == [{True}] * 8


# --- small data ----------------------------------------------------------------------------------


@METHODS
@pytest.mark.parametrize(
    ("n", "batch_size", "n_batches"),
    [(2, 32, 1), (3, 2, 1), (33, 32, 1), (34, 32, 2), (10, 32, 1)],
)
def test_few_rows_and_short_last_batches(method, n, batch_size, n_batches, global_random_seed):
    """A last batch of one row joins the batch before it, for batch norm and for company."""
    X = np.random.default_rng(global_random_seed).normal(size=(n, 4))
    encoder = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5))
    settings = {"encoder": encoder, "encoder_params": None, "batch_size": batch_size}
    transformer = fit(method, X, **settings)
    assert transformer.history_[-1, "train_batch_count"] == n_batches
    assert np.isfinite(transformer.transform(X)).all()


@METHODS
def test_one_row_is_refused(method):
    with pytest.raises(ValueError, match=r"comparing rows, but X has 1 sample: pass at least 2"):
        fit(method, np.zeros((1, 4)))


# --- how a training ends -------------------------------------------------------------------------


class Stop(Callback):
    """Press Ctrl-C in the middle of an epoch."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 3:
            raise KeyboardInterrupt


@METHODS
def test_an_interrupted_fit_is_fitted_with_what_was_learned(method, blobs):
    X = blobs[0]
    settings = {"max_epochs": 5, "lr_schedule": "constant"}
    with pytest.warns(InterruptedFitWarning, match="after 2 of 5 epochs; the transformer") as seen:
        transformer = fit(method, X, callbacks=[Stop()], **settings)
    assert seen[0].filename == __file__.replace(".pyc", ".py")
    assert transformer.n_iter_ == 2
    two = fit(method, X, **{**settings, "max_epochs": 2})
    np.testing.assert_array_equal(transformer.transform(X), two.transform(X))


@METHODS
def test_early_stopping_ends_without_a_warning(method, blobs):
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=0.9, sink=lambda _: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        transformer = fit(method, blobs[0], max_epochs=9, callbacks=[stop])
    assert transformer.n_iter_ == 3  # the first, and two that were no better


@METHODS
def test_a_loss_that_is_not_finite_names_the_learning_rate(method, blobs):
    transformer = method(**SMALL).fit(blobs[0])
    transformer.set_params(lr=1e30, optimizer="sgd")
    with pytest.raises(NonFiniteLossError, match=r"at learning rate 1e\+30. Lower lr"):
        transformer.fit(blobs[0])
    with pytest.raises(ValueError, match="not fitted yet"):
        transformer.transform(blobs[0])


@METHODS
def test_progress(method, blobs, capfd):
    fit(method, blobs[0], verbose=1)
    shown = capfd.readouterr().err
    assert method.__name__ in shown
    assert "2/2" in shown
    assert "train_loss=" in shown
    fit(method, blobs[0])
    assert capfd.readouterr().err == ""


# --- bad input -----------------------------------------------------------------------------------


@METHODS
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"batch_size": 1}, r"'batch_size' parameter .* must be an int in the range \[2, inf\)"),
        ({"temperature": 0}, r"'temperature' parameter .* must be a float in the range \(0"),
        ({"projection_dim": 0}, "'projection_dim' parameter"),
        ({"max_epochs": 0}, "'max_epochs' parameter"),
        ({"lr": -1.0}, "'lr' parameter"),
        ({"encoder": 3}, "'encoder' parameter"),
        ({"optimizer": "lamb"}, "'optimizer' parameter"),
        ({"checkpoint": 3}, "'checkpoint' parameter"),
        ({"device": "cuda:99"}, "device='cuda:99'"),
    ],
)
def test_bad_parameters(method, blobs, parameters, message):
    with pytest.raises(ValueError, match=message):
        fit(method, blobs[0], **parameters)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (MoCo, {"queue_size": 0}),
        (MoCo, {"queue_size": 2.5}),
        (MoCo, {"momentum": 1.0}),
        (MoCo, {"augment": "jigsaw"}),
        (SimCLR, {"augment": "jigsaw"}),
        (SCARF, {"corruption_rate": 1.1}),
    ],
)
def test_bad_parameters_of_one_method(method, blobs, parameters):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"'{name}' parameter of {method.__name__} must be"):
        fit(method, blobs[0], **parameters)


@WITH_IMAGES
def test_augmentations_of_other_rows_are_refused(method, blobs, images):
    with pytest.raises(ValueError, match=r"'crop' is made for images, but X is a table of shape"):
        fit(method, blobs[0], augment="crop")
    with pytest.raises(ValueError, match=r"'corruption' is made for tables, but X holds images"):
        fit(method, images[0], augment="corruption")


def test_scarf_names_the_methods_for_images(images):
    with pytest.raises(ValueError, match=r"SCARF takes tables.*\(40, 8, 8, 3\). Use SimCLR or Mo"):
        fit(SCARF, images[0])


class ThreeD(nn.Module):
    def forward(self, x):
        return x[:, None].expand(-1, 3, -1)


class Transposed(nn.Module):
    def forward(self, x):
        return x.T


class Pair(nn.Module):
    def forward(self, x):
        return x, x


@METHODS
@pytest.mark.parametrize(
    ("encoder", "params", "error", "message"),
    [
        (ThreeD, None, ValueError, r"ThreeD returned shape \(2, 3, 6\) for 2 rows.*nn.Flatten"),
        (Transposed, None, ValueError, r"Transposed returned shape \(6, 2\) for 2 rows"),
        (Pair, None, TypeError, r"Pair must return a tensor of features \(n, d\), got tuple"),
        (lambda: "net", None, TypeError, "must give an nn.Module, got str"),
        (
            nn.Linear(6, 3),
            {"bias": False},
            ValueError,
            r"encoder_params={'bias': False} cannot be applied to an instance of Linear: pass the",
        ),
    ],
)
def test_bad_encoders(method, blobs, encoder, params, error, message):
    with pytest.raises(error, match=message):
        fit(method, blobs[0], encoder=encoder, encoder_params=params)


@WITH_IMAGES
def test_rows_of_another_kind_than_those_of_fit(method, blobs, images):
    on_images = fit(method, images[0], encoder_params=None)
    with pytest.raises(ValueError, match=rf"{method.__name__} was fitted on images of shape"):
        on_images.transform(blobs[0])
    with pytest.raises(ValueError, match="numbers may not mean the same"):
        on_images.transform(images[0] / 255)
    with pytest.raises(ValueError, match="was fitted on tables"):
        fit(method, blobs[0]).transform(images[0])


def test_the_net_alone_points_to_the_transformer(blobs):
    with pytest.raises(TypeError, match=r"got ndarray\. Call transform of the transformer"):
        fit(SCARF, blobs[0]).net_.predict(blobs[0])


def test_rows_of_tensors_serve_the_corruption(blobs):
    """With "auto", the scaled rows of a table are corrupted."""
    X = blobs[0]
    scaling = InputScaling().fit(X)
    rows = TensorRows(scaling.apply(scaling.to_tensor(X)))
    explicit = fit(SimCLR, X, augment=FeatureCorruption(rows, 0.3)).transform(X)
    np.testing.assert_array_equal(explicit, fit(SimCLR, X).transform(X))
