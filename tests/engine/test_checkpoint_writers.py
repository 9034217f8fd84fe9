"""Who writes a checkpoint: one fit, its trainings in their order."""

import pytest
import torch
from estimators import QUICK
from kills import assert_same_fit
from sklearn.base import clone
from skorch.callbacks import Callback

from sknoisy._engine.checkpoint import Checkpoint
from sknoisy._engine.checkpoint_file import read_file
from sknoisy.base import NetworkClassifier
from sknoisy.exceptions import CheckpointWarning

PLAIN = NetworkClassifier(**QUICK["CDRClassifier"][""])


class FitAnother(Callback):
    """Stands for another process, which writes the file before the first epoch is done."""

    def __init__(self, estimator, X, y):
        self.estimator, self.X, self.y = estimator, X, y

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 1:
            self.estimator.fit(self.X, self.y)


def test_of_two_fits_at_once_the_first_writer_keeps_the_file(blobs, tmp_path):
    path = tmp_path / "1"
    other = clone(PLAIN).set_params(checkpoint=path, random_state=1)
    clf = clone(PLAIN).set_params(checkpoint=path, callbacks=[FitAnother(other, *blobs)])
    with pytest.warns(CheckpointWarning, match="was written by another fit while") as warned:
        clf.fit(*blobs)
    assert len(warned) == 1
    assert_same_fit(clf, clone(PLAIN).fit(*blobs), blobs[0])
    assert read_file(path)["run"]["random_state"] == "1"
    assert_same_fit(clone(other).fit(*blobs), other, blobs[0])  # it is read, not refused


def test_a_file_that_was_deleted_meanwhile_is_written_again(tmp_path):
    checkpoint = Checkpoint(tmp_path / "1", {}, 0)
    for _ in range(2):
        checkpoint.write(0, torch.zeros(1), n_done=1)
        (tmp_path / "1").unlink()


def test_a_training_does_not_take_the_place_of_an_earlier_one(tmp_path):
    """As if ``max_time`` had ended the first training in its first epoch, and not the second."""
    checkpoint = Checkpoint(tmp_path / "1", {}, 0)
    first, second = torch.zeros(2), torch.ones(2)
    checkpoint.write(1, second, n_done=1)
    assert not (tmp_path / "1").exists()
    checkpoint.write(0, first, n_done=1)
    checkpoint.write(1, second, n_done=1)
    held = read_file(tmp_path / "1")["trainings"]
    assert [training.tolist() for training in held] == [[0, 0], [1, 1]]
