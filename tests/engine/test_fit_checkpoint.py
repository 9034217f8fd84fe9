"""``checkpoint`` of the network classifiers: what goes on, what is refused, what is said."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from estimators import QUICK
from kills import Kills, assert_same_content, assert_same_fit
from sklearn.base import clone
from skorch.callbacks import Callback, EarlyStopping
from torch import nn

from sknoisy import CLIDMUClassifier, ELRClassifier, MILDClassifier, NoisyLabelClassifier
from sknoisy._engine import checkpoint_file
from sknoisy.base import NetworkClassifier
from sknoisy.exceptions import CheckpointWarning, InterruptedFitWarning
from sknoisy.representation import SCARF

TESTS = Path(__file__).parents[1]
CLID_MU = CLIDMUClassifier(**{**QUICK["CLIDMUClassifier"]["wnet"], "max_epochs": 8})
PLAIN = NetworkClassifier(**QUICK["CDRClassifier"][""])


@pytest.fixture
def kills(monkeypatch):
    return Kills(monkeypatch)


def saved(classifier, path, **params):
    """A clone with a checkpoint."""
    return clone(classifier).set_params(checkpoint=path, **params)


def table():
    """120 rows of three classes."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    X = rng.normal(size=(120, 6))
    X[:, :3] += 3 * np.eye(3)[y]
    return X, y


class Zero(Callback):
    """Set the network to 0 in two epochs, the second one soon after the first."""

    def on_batch_end(self, net, training=False, **kwargs):
        if len(net.history) in (4, 6):
            for parameter in net.module_.parameters():
                nn.init.zeros_(parameter)


class End(Callback):
    """End the process in an epoch, without a chance to clean up."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            os._exit(3)


# --- goes on ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.CollapseWarning")
@pytest.mark.parametrize("epoch", [5, 7])
def test_a_fit_goes_on_after_the_guard_has_set_it_back(epoch, kills, tmp_path):
    """To the last good epoch, then to the reference: both are in the file, and the meta rate."""
    X, y = table()
    clf = clone(CLID_MU).set_params(callbacks=[Zero()])
    n_batches = 4 * (epoch - 1) + 2
    expected = kills.fit(saved(clf, tmp_path / "1"), X, y)
    kills.n_saved = 0
    kills.fit(saved(clf, tmp_path / "2"), X, y, after=n_batches)
    resumed = kills.fit(saved(clf, tmp_path / "2"), X, y)
    assert [epoch["set_back"] for epoch in expected.history_] == [e in (4, 6) for e in range(1, 9)]
    assert resumed.n_recoveries_ == 2
    assert_same_fit(expected, resumed, X)
    assert_same_content(tmp_path / "1", tmp_path / "2")


CHILD = """
import sys
sys.path[:0] = sys.argv[2:]
from test_fit_checkpoint import CLID_MU, End, Zero, saved, table
clf = saved(CLID_MU, sys.argv[1], callbacks=[Zero(), End(5)])
clf.fit(*table())
"""


@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.CollapseWarning")
def test_another_process_goes_on_with_the_fit(tmp_path):
    path, X = tmp_path / "fit.pt", table()[0]
    folders = [str(TESTS / "helpers"), str(TESTS / "engine")]
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(path), *folders]
    assert subprocess.run(command, check=False).returncode == 3
    clf = clone(CLID_MU).set_params(callbacks=[Zero()])
    resumed = saved(clf, path).fit(*table())
    assert_same_fit(clf.fit(*table()), resumed, X)


@pytest.mark.parametrize("Classifier", [CLIDMUClassifier, MILDClassifier])
def test_a_checkpoint_changes_no_fit(Classifier, blobs, tmp_path):
    clf = Classifier(**next(iter(QUICK[Classifier.__name__].values())))
    assert_same_fit(clone(clf).fit(*blobs), saved(clf, tmp_path / "1").fit(*blobs), blobs[0])
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_without_random_state_the_seed_is_that_of_the_file(blobs, kills, tmp_path):
    clf = saved(CLID_MU, tmp_path / "1", random_state=None)
    kills.fit(clf, *blobs, after=18)
    (tmp_path / "2").write_bytes((tmp_path / "1").read_bytes())
    first, second = (kills.fit(saved(clf, tmp_path / name), *blobs) for name in "12")
    assert_same_fit(first, second, blobs[0])
    others = [saved(clf, tmp_path / name).fit(*blobs) for name in "34"]
    assert len({clf.history_[0, "train_loss"] for clf in (first, *others)}) == 3


def test_a_fit_that_a_callback_stopped_is_finished(blobs, kills, tmp_path):
    stop = EarlyStopping("train_loss", patience=3, threshold=0.9, sink=lambda text: None)
    clf = saved(PLAIN, tmp_path / "1", max_epochs=9, callbacks=[stop])
    kills.fit(clf, *blobs, after=11)
    stopped = kills.fit(clf, *blobs)
    assert 3 < stopped.n_iter_ < 9
    assert_same_fit(
        clone(PLAIN).set_params(max_epochs=9, callbacks=[stop]).fit(*blobs), stopped, blobs[0]
    )
    assert_same_fit(kills.fit(clf, *blobs), stopped, blobs[0])
    assert kills.n_seen == 0
    patient = clone(stop).set_params(patience=8)
    with pytest.warns(CheckpointWarning, match=rf"ended after {stopped.n_iter_} of 9 epochs"):
        kills.fit(clone(clf).set_params(callbacks=[patient]), *blobs)
    with pytest.warns(CheckpointWarning, match="does not go on with other callbacks"):
        kills.fit(clone(clf).set_params(callbacks=None), *blobs)


class PressCtrlC(Callback):
    def on_batch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise KeyboardInterrupt


def test_an_interrupted_fit_goes_on(blobs, tmp_path):
    with pytest.warns(InterruptedFitWarning):
        interrupted = saved(PLAIN, tmp_path / "1", callbacks=[PressCtrlC()]).fit(*blobs)
    assert interrupted.n_iter_ == 1
    assert_same_fit(saved(PLAIN, tmp_path / "1").fit(*blobs), clone(PLAIN).fit(*blobs), blobs[0])


def test_a_fit_goes_on_with_more_time(blobs, tmp_path):
    with pytest.warns(InterruptedFitWarning):
        saved(PLAIN, tmp_path / "1", max_time=600, callbacks=[PressCtrlC()]).fit(*blobs)
    resumed = saved(PLAIN, tmp_path / "1", max_time=900).fit(*blobs)
    assert_same_fit(resumed, clone(PLAIN).fit(*blobs), blobs[0])


# --- callbacks of the user ----------------------------------------------------------------------


class Count(Callback):
    """Records the number of batches so far."""

    def on_train_begin(self, net, **kwargs):
        self.n = 0

    def on_batch_end(self, net, **kwargs):
        self.n += 1

    def on_epoch_end(self, net, **kwargs):
        net.history.record("n", self.n)


class SavedCount(Count):
    """The same, and a checkpoint holds it."""

    def state_dict(self, net):
        return {"n": self.n}

    def load_state_dict(self, state, net, data):
        assert len(data) == 121
        self.n = state["n"]


class Unreadable(Callback):
    """A state that is no tensor and no plain value."""

    def state_dict(self, net):
        return {"path": Path()}

    def load_state_dict(self, state, net, data):
        raise AssertionError


def test_callbacks_of_the_user_keep_their_state_by_two_methods(blobs, kills, tmp_path):
    clf = saved(PLAIN, tmp_path / "1", callbacks=[SavedCount()])
    kills.fit(clf, *blobs, after=10)
    assert kills.fit(clf, *blobs).history_[:, "n"] == [4, 8, 12]


def test_a_callback_that_begins_anew_is_named(blobs, kills, tmp_path):
    clf = saved(PLAIN, tmp_path / "1", callbacks=[Count()])
    kills.fit(clf, *blobs, after=10)
    with pytest.warns(CheckpointWarning, match="callback 'Count' begins anew"):
        assert kills.fit(clf, *blobs).history_[:, "n"] == [4, 8, 4]


def test_a_state_that_cannot_be_read_again_is_refused_after_one_epoch(blobs, kills, tmp_path):
    with pytest.raises(TypeError, match="more than tensors and plain values"):
        kills.fit(saved(PLAIN, tmp_path / "1", callbacks=[Unreadable()]), *blobs)
    assert kills.n_seen == 4


# --- or is refused ------------------------------------------------------------------------------


@pytest.fixture
def written(blobs, tmp_path):
    """The path of a checkpoint of a finished fit with weights and a mask."""
    saved(PLAIN, tmp_path / "fit.pt").fit(*blobs, **masks())
    return tmp_path / "fit.pt"


def masks(weight=2.0, step=4):
    rows = np.arange(121)
    return {"sample_weight": np.where(rows < 50, weight, 1), "clean_mask": rows % step == 0}


HEX = "[0-9a-f]{16}"
CHANGES = {
    "X": (lambda X, y: (X[::-1], y, masks()), {}, f"X={HEX}, now {HEX}"),
    "y": (
        lambda X, y: (X, np.where(np.arange(121) == 7, (y + 1) % 3, y), masks()),
        {},
        f"y={HEX}, now {HEX}",
    ),
    "classes": (lambda X, y: (X, y + 1, masks()), {}, f"classes={HEX}, now {HEX}"),
    "weights": (lambda X, y: (X, y, masks(weight=3)), {}, f"sample_weight={HEX}, now {HEX}"),
    "mask": (lambda X, y: (X, y, masks(step=5)), {}, f"clean_mask={HEX}, now {HEX}"),
    "no mask": (
        lambda X, y: (X, y, {**masks(), "clean_mask": None}),
        {},
        f"clean_mask={HEX}, now None",
    ),
    "max_epochs": (lambda X, y: (X, y, masks()), {"max_epochs": 4}, "max_epochs=3, now 4"),
    "seed": (lambda X, y: (X, y, masks()), {"random_state": 1}, "random_state=0, now 1"),
    "instance": (
        lambda X, y: (X, y, masks()),
        {"random_state": np.random.RandomState(0)},
        f"random_state=0, now RandomState {HEX}",
    ),
}


@pytest.mark.parametrize(("change", "params", "message"), CHANGES.values(), ids=CHANGES)
def test_a_checkpoint_of_another_fit_is_refused(written, blobs, kills, change, params, message):
    X, y, of_rows = change(*blobs)
    before = written.read_bytes()
    with pytest.raises(
        ValueError, match=rf"written by another run: {message}\. .*delete the file"
    ):
        kills.fit(saved(PLAIN, written, **params), X, y, **of_rows)
    assert written.read_bytes() == before
    assert kills.n_seen == 0


@pytest.mark.parametrize("package", ["torch", "sknoisy"])
def test_a_checkpoint_of_another_version_is_refused(package, written, blobs, monkeypatch):
    monkeypatch.setattr(f"{package}.__version__", "2.6.0")
    with pytest.raises(ValueError, match=rf"run: {package}=[^,]*, now 2\.6\.0\. "):
        saved(PLAIN, written).fit(*blobs, **masks())


def test_starts_are_compared_by_their_numbers(blobs, tmp_path):
    scarfs = [SCARF(max_epochs=1, random_state=seed).fit(blobs[0]) for seed in (0, 1)]
    clf = ELRClassifier(max_epochs=1, random_state=0)
    for _ in range(2):
        saved(clf, tmp_path / "1").set_params(pretrained=scarfs[0]).fit(*blobs)
    with pytest.raises(ValueError, match=r"pretrained=SCARF of .*, now SCARF of"):
        saved(clf, tmp_path / "1").set_params(pretrained=scarfs[1]).fit(*blobs)


def test_a_damaged_checkpoint_of_a_fit_is_refused(written, blobs, kills):
    content = bytearray(written.read_bytes())
    content[len(content) // 2] ^= 1
    written.write_bytes(content)
    with pytest.raises(ValueError, match="not a checkpoint of a training: it is damaged"):
        kills.fit(saved(PLAIN, written), *blobs, **masks())
    assert kills.n_seen == 0


def test_a_path_that_cannot_be_written_is_refused_first(blobs, kills, tmp_path):
    fitted = clone(PLAIN).fit(*blobs)
    with pytest.raises(ValueError, match=r"there is no folder '.*missing'"):
        fitted.set_params(checkpoint=tmp_path / "missing" / "1").fit(*blobs)
    assert fitted.predict(blobs[0]).shape == (121,)  # the earlier fit is kept


def test_steps_before_training_that_differ_are_refused(blobs, tmp_path, monkeypatch):
    """As of a selector of the user's that draws without a seed."""
    X, y = blobs
    saved(PLAIN, tmp_path / "1").fit(X, y)
    prepare = NetworkClassifier._prepare

    def prepare_otherwise(self, problem):
        return prepare(
            self, problem.__class__(**{**vars(problem), "targets": problem.targets[::-1].copy()})
        )

    monkeypatch.setattr(NetworkClassifier, "_prepare", prepare_otherwise)
    with pytest.raises(
        ValueError, match="on other rows or labels than those that were chosen now"
    ):
        saved(PLAIN, tmp_path / "1").fit(X, y)


def test_networks_of_an_ensemble_have_no_checkpoint(blobs, tmp_path):
    params = {"checkpoint": tmp_path / "1"}
    with pytest.raises(ValueError, match="trains several networks, and a checkpoint belongs to"):
        NoisyLabelClassifier(network_params=params).fit(*blobs)
    params |= {"max_epochs": 1}
    clf = NoisyLabelClassifier(method="elr", network_params=params, random_state=0).fit(*blobs)
    assert (tmp_path / "1").exists()
    np.testing.assert_array_equal(clone(clf).fit(*blobs).clean_proba_, clf.clean_proba_)


# --- what is said, and a full disk --------------------------------------------------------------


def test_the_epoch_at_which_a_fit_goes_on_is_shown(blobs, kills, tmp_path, capfd):
    clf = saved(PLAIN, tmp_path / "1", verbose=1)
    kills.fit(clf, *blobs, after=10)
    assert "goes on" not in capfd.readouterr().err
    kills.fit(clf, *blobs)
    shown = capfd.readouterr().err
    assert "NetworkClassifier: goes on at epoch 3 of 3, by checkpoint=" in shown
    assert "2/3" in shown
    kills.fit(clf, *blobs)
    assert "goes on after a training that was finished" in capfd.readouterr().err


def test_a_fit_goes_on_without_its_checkpoint_if_the_disk_is_full(blobs, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_file.os, "replace", fail)
        with pytest.warns(
            CheckpointWarning, match="after epoch 1: No space left on device"
        ) as all:
            fitted = saved(PLAIN, tmp_path / "1").fit(*blobs)
    assert len(all) == 3
    assert_same_fit(clone(PLAIN).fit(*blobs), fitted, blobs[0])
    assert not [*tmp_path.iterdir()]
