"""A training that broke off goes on from its checkpoint as if it had not."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from skorch.callbacks import Callback, EarlyStopping
from torch import nn
from torch.optim.lr_scheduler import StepLR

from sknoisy._engine.checkpoint_file import from_bytes, parse
from sknoisy.exceptions import InterruptedFitWarning
from sknoisy.representation import SCARF, MoCo, SimCLR

METHODS = pytest.mark.parametrize("method", [SimCLR, MoCo, SCARF])
TESTS = Path(__file__).parent


class Break(Callback):
    """Break off in the middle of an epoch: by an error, or as if the power had failed."""

    def __init__(self, epoch, how="error"):
        self.epoch, self.how = epoch, how

    def on_epoch_begin(self, net, **kwargs):
        self.batches = 0

    def on_batch_end(self, net, **kwargs):
        self.batches += 1
        if len(net.history) == self.epoch and self.batches == 2:
            if self.how == "power":
                os._exit(3)
            raise KeyboardInterrupt if self.how == "Ctrl-C" else OSError("broken")


def step_schedule(optimizer):
    return StepLR(optimizer, 2, gamma=0.5)


def make(method, path=None, **parameters):
    """A transformer whose every step draws: order, views, dropout; Adam and a schedule."""
    settings = {
        "encoder_params": {"hidden": (8, 8), "dropout": 0.3},
        "max_epochs": 5,
        "batch_size": 16,
        "lr_schedule": step_schedule,
        "checkpoint": path,
        "random_state": 0,
    }
    return method(**{**settings, **parameters})


def table(n=60):
    return np.random.default_rng(0).normal(size=(n, 6))


def break_off(transformer, X, epoch=3, how="error"):
    broken = clone(transformer).set_params(callbacks=[Break(epoch, how)])
    if how == "Ctrl-C":
        with pytest.warns(InterruptedFitWarning):
            broken.fit(X)
    else:
        with pytest.raises(OSError, match="broken"):
            broken.fit(X)


class Count(Callback):
    """The number of batches that were trained on."""

    batches = 0

    def on_batch_end(self, net, **kwargs):
        self.batches += 1


def counted(transformer):
    """A copy and the counter of its batches."""
    counter = Count()
    return clone(transformer).set_params(callbacks=[counter]), counter


def assert_same(first, second, X):
    np.testing.assert_array_equal(first.transform(X), second.transform(X))
    keys = ("train_loss", "train_loss_best", "event_lr", "epoch", "train_batch_count")
    for key in keys:
        assert first.history_[:, key] == second.history_[:, key]
    assert first.n_iter_ == second.n_iter_


# --- goes on -------------------------------------------------------------------------------------


@METHODS
@pytest.mark.parametrize("how", ["error", "Ctrl-C"])
@pytest.mark.parametrize("epoch", [1, 3, 5])
def test_a_broken_run_ends_as_the_unbroken_one(method, how, epoch, tmp_path):
    X, transformer = table(), make(method, tmp_path / "run.pt")
    expected = clone(transformer).set_params(checkpoint=None).fit(X)
    break_off(transformer, X, epoch, how)
    resumed, counter = counted(transformer)
    torch.rand(3)
    resumed.fit(X)
    assert_same(resumed, expected, X)
    assert counter.batches == 4 * (6 - epoch)


def test_a_run_of_images_goes_on_with_its_views(images, tmp_path):
    X = images[0]
    transformer = make(SimCLR, tmp_path / "run.pt", encoder_params=None)
    expected = clone(transformer).set_params(checkpoint=None).fit(X)
    break_off(transformer, X)
    assert_same(transformer.fit(X), expected, X)


def test_a_run_that_broke_twice(tmp_path):
    X, transformer = table(), make(MoCo, tmp_path / "run.pt")
    for epoch in (2, 4):
        break_off(transformer, X, epoch)
    expected = clone(transformer).set_params(checkpoint=None).fit(X)
    assert_same(transformer.fit(X), expected, X)


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from sknoisy.representation import MoCo
from test_representation_checkpoint import Break, make, table
make(MoCo, Path(sys.argv[2]), callbacks=[Break(3, "power")]).fit(table())
"""


def test_another_process_goes_on(tmp_path):
    """After a process that ended without a chance to clean up."""
    path = tmp_path / "run.pt"
    command = [sys.executable, "-c", CHILD, str(TESTS), str(path)]
    assert subprocess.run(command, check=False).returncode == 3
    X = table()
    resumed, counter = counted(make(MoCo, path))
    assert_same(resumed.fit(X), make(MoCo).fit(X), X)
    assert counter.batches == 4 * 3


@METHODS
def test_a_finished_run_is_not_trained_again(method, tmp_path):
    X, transformer = table(), make(method, tmp_path / "run.pt")
    expected = clone(transformer).fit(X)
    again, counter = counted(transformer)
    assert_same(again.fit(X), expected, X)
    assert counter.batches == 0


def test_a_run_that_stopped_early_is_finished(tmp_path):
    X = table()
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=0.9, sink=lambda _: None)
    path = tmp_path / "run.pt"
    expected = make(SCARF, path, callbacks=[stop]).fit(X)
    assert expected.n_iter_ == 3
    again, counter = counted(make(SCARF, path))
    np.testing.assert_array_equal(again.fit(X).transform(X), expected.transform(X))
    assert (again.n_iter_, counter.batches) == (3, 0)


def test_without_random_state_a_run_goes_on_with_its_own_draws(tmp_path):
    """The first two epochs are those that were written, whatever the new seed."""
    X, path = table(), tmp_path / "run.pt"
    transformer = make(SimCLR, path, random_state=None)
    break_off(transformer, X)
    written = from_bytes(parse(path)["trainings"][0])
    resumed = clone(transformer).fit(X)
    assert len(resumed.history_) == 5
    assert f'"train_loss": {resumed.history_[1, "train_loss"]!r}' in written["nets"][0]["history"]
    again = clone(transformer).fit(X)  # finished by now
    np.testing.assert_array_equal(again.transform(X), resumed.transform(X))


def test_a_checkpoint_changes_nothing(tmp_path):
    X = table()
    first, second = make(MoCo, tmp_path / "run.pt").fit(X), make(MoCo).fit(X)
    assert_same(first, second, X)
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_the_bar_begins_where_the_training_does(tmp_path, capfd):
    X, transformer = table(), make(SCARF, str(tmp_path / "run.pt"))
    break_off(transformer, X)
    transformer.set_params(verbose=1).fit(X)
    shown = capfd.readouterr().err
    assert "2/5" in shown
    assert "5/5" in shown


# --- or is refused -------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path):
    """The path of a checkpoint of MoCo on the table."""
    make(MoCo, tmp_path / "run.pt", max_epochs=1).fit(table())
    return tmp_path / "run.pt"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"temperature": 0.5}, "temperature=0.2, now 0.5"),
        ({"max_epochs": 2}, "max_epochs=1, now 2"),
        ({"encoder_params": {"hidden": (8,)}}, r"encoder_params=\{.*\}, now \{.*\}"),
        ({"encoder": nn.Linear(6, 8)}, "encoder=None, now Linear [0-9a-f]{16}"),
        ({"optimizer": torch.optim.SGD}, "optimizer='adam', now torch.optim.sgd.SGD"),
        (
            {"optimizer": partial(torch.optim.Adam, eps=1)},
            "optimizer='adam', now partial of .*Adam.*eps.*1.*",
        ),
        ({"lr_schedule": "cosine"}, "lr_schedule=test_.*step_schedule, now 'cosine'"),
        ({"queue_size": 5}, "queue_size=4096, now 5"),
        ({"random_state": 1}, "random_state=0, now 1"),
        ({"random_state": None}, "random_state=0, now None"),
    ],
)
def test_a_checkpoint_of_other_parameters_is_refused(written, parameters, message):
    before = written.read_bytes()
    with pytest.raises(ValueError, match=rf"run\.pt' was written by another run: {message}\. Fit"):
        make(MoCo, written, **{"max_epochs": 1, **parameters}).fit(table())
    assert written.read_bytes() == before


def test_a_checkpoint_of_another_method_is_refused(written):
    with pytest.raises(ValueError, match=r"method=MoCo, now SimCLR, .*queue_size=4096, now None"):
        make(SimCLR, written, max_epochs=1).fit(table())


@pytest.mark.parametrize(
    "change",
    [
        lambda X: X + 1e-9 * (np.arange(6) == 3),
        lambda X: X[::-1],
        lambda X: X[:-1],
        lambda X: X.astype("float32"),
        sp.csr_matrix,
    ],
    ids=["a value", "order", "a row less", "dtype", "sparse"],
)
def test_a_checkpoint_of_other_data_is_refused(written, change):
    with pytest.raises(ValueError, match=r"another run: X=[0-9a-f]{16}, now [0-9a-f]{16}"):
        make(MoCo, written, max_epochs=1).fit(change(table()))


def test_what_does_not_act_on_the_numbers_may_change(written, tmp_path, monkeypatch):
    moved = written.rename(tmp_path / "moved.pt")
    transformer, counter = counted(make(MoCo, moved, max_epochs=1, verbose=1, device="cpu"))
    transformer.set_params(temperature=np.float64(0.2))
    np.save(tmp_path / "X.npy", table())
    transformer.fit(np.load(tmp_path / "X.npy", mmap_mode="r"))
    assert counter.batches == 0


def test_instances_are_compared_by_their_numbers(tmp_path):
    path, settings = tmp_path / "run.pt", {"encoder_params": None, "max_epochs": 1}
    encoders = [nn.Linear(6, 4) for _ in range(2)]
    make(SCARF, path, encoder=encoders[0], **settings).fit(table())
    make(SCARF, path, encoder=encoders[0], **settings).fit(table())
    with pytest.raises(ValueError, match=r"encoder=Linear [0-9a-f]{16}, now Linear"):
        make(SCARF, path, encoder=encoders[1], **settings).fit(table())


class Noise:
    """An augmentation whose default ``repr`` is its address."""

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, rows, generator):
        return rows + self.scale * torch.randn(rows.shape, generator=generator)


def test_augmentations_are_compared_by_what_they_hold(tmp_path):
    path, settings = tmp_path / "run.pt", {"max_epochs": 1}
    for _ in range(2):
        make(SimCLR, path, augment=Noise(0.1), **settings).fit(table())
    with pytest.raises(ValueError, match=r"Noise of \{'scale': 0.1\}, now .*Noise of .*0.2"):
        make(SimCLR, path, augment=Noise(0.2), **settings).fit(table())


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "other"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "notes.txt"
    if content == "other":
        torch.save({"weights": torch.zeros(2)}, path)
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"notes\.txt' is not a checkpoint of a training"):
        make(SCARF, path).fit(table())
    assert path.read_bytes() == before


def test_a_path_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    class Never(nn.Module):
        def __init__(self):
            raise AssertionError

    settings = {"encoder": Never, "encoder_params": None}
    missing = tmp_path / "missing" / "run.pt"
    with pytest.raises(ValueError, match=r"there is no folder '.*missing'\. Make it first\."):
        make(SCARF, missing, **settings).fit(table())
    with pytest.raises(ValueError, match=r"is a folder; pass the path of a file in it\."):
        make(SCARF, tmp_path, **settings).fit(table())
