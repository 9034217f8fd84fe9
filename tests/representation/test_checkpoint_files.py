"""The file of a checkpoint: written whole or not at all, and read only if it is one."""

import errno
import io
import os
import pickle
import resource
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from test_representation_checkpoint import assert_same, break_off, make, table
from torch import nn

from sknoisy._engine import checkpoint_file
from sknoisy.exceptions import CheckpointWarning
from sknoisy.representation import SCARF

# --- written ------------------------------------------------------------------------------------


class FullDevice(io.BytesIO):
    """A file on a disk without space: what was written cannot be flushed."""

    def __init__(self, path, mode):
        super().__init__()
        Path(path).touch(exist_ok=False)

    def flush(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("device", ["simulated", "/dev/full"])
def test_training_goes_on_when_the_disk_is_full(tmp_path, monkeypatch, device):
    if device != "simulated" and not Path(device).exists():
        pytest.skip(f"there is no {device}")
    X, path = table(), tmp_path / "run.pt"
    transformer = make(SCARF, path)
    break_off(transformer, X)
    before = path.read_bytes()

    def open_full(file, mode):
        return FullDevice(file, mode) if device == "simulated" else open(device, "wb")

    monkeypatch.setattr(checkpoint_file, "open", open_full, raising=False)
    monkeypatch.setattr(checkpoint_file, "parse", parse_with(open))
    message = r"run\.pt' could not be written after epoch 3: No space left.* It needs [\d,]+ bytes"
    with pytest.warns(CheckpointWarning, match=message) as caught:
        fitted = clone(transformer).fit(X)
    monkeypatch.undo()
    assert caught[0].filename == __file__
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]
    expected = make(SCARF).fit(X)
    assert_same(fitted, expected, X)
    assert_same(transformer.fit(X), expected, X)


def parse_with(own_open):
    """The parser of the checkpoints, with an ``open`` of its own."""
    names = {**vars(checkpoint_file), "open": own_open}
    return type(checkpoint_file.parse)(checkpoint_file.parse.__code__, names)


def test_no_planted_link_is_followed(tmp_path):
    """Under any name that an earlier version used, or that is easily guessed."""
    victim, path = tmp_path / "victim", tmp_path / "run.pt"
    victim.write_text("precious")
    for name in ("run.pt.part", "run.pt.tmp", ".run.pt.part", ".part"):
        (tmp_path / name).symlink_to(victim)
    make(SCARF, path, max_epochs=1).fit(table())
    assert victim.read_text() == "precious"
    assert not path.is_symlink()


class Never(nn.Module):
    def __init__(self):
        raise AssertionError


def plant(path, kind):
    if kind == "link":
        path.with_name("other.pt").write_bytes(b"precious")
        path.symlink_to("other.pt")
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("link", "is a symbolic link to 'other.pt'. Pass the path of the file"),
        ("dangling link", "is a symbolic link to 'nowhere'. Pass the path of the file"),
        ("pipe", "is a pipe, a socket or a device; pass the path of a file"),
        ("folder", "is a folder; pass the path of a file in it"),
    ],
)
def test_a_path_that_is_no_file_is_refused_before_any_work(tmp_path, kind, message):
    path = tmp_path / "run.pt"
    plant(path, kind)
    with pytest.raises(ValueError, match=rf"checkpoint='.*run\.pt' {message}"):
        make(SCARF, path, encoder=Never, encoder_params=None).fit(table())
    others = [file for file in tmp_path.iterdir() if file != path]
    assert [file.read_bytes() for file in others] == [b"precious"] * (kind == "link")


# --- read ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The bytes of a checkpoint."""
    path = tmp_path_factory.mktemp("checkpoint") / "run.pt"
    make(SCARF, path, max_epochs=1).fit(table())
    return path.read_bytes()


def mutations(content, n=200, seed=0):
    """Yield damaged copies: bytes changed, cut off, inserted or repeated."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        at, length = int(rng.integers(len(content))), int(rng.integers(1, 64))
        if i % 4 == 0:
            yield (
                content[:at] + bytes([content[at] ^ int(rng.integers(1, 256))]) + content[at + 1 :]
            )
        elif i % 4 == 1:
            yield content[:at]
        elif i % 4 == 2:
            yield content[:at] + rng.bytes(length) + content[at:]
        else:
            yield content[: at + 1] + content[max(at - length, 0) :]


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def refusal(path):
    """The message of a fit that refuses the file, within a second and 200 MB."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ValueError, match=r"run\.pt' is not a checkpoint of a training") as caught:
        checkpoint_file.read_file(path)
    assert time.process_time() - began < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    return str(caught.value)


def test_a_damaged_checkpoint_is_refused(tmp_path, written):
    path = tmp_path / "run.pt"
    for content in mutations(written):
        assert content != written
        path.write_bytes(content)
        assert "\n" not in refusal(path)
        assert path.read_bytes() == content


def test_a_file_of_another_kind_is_refused_and_runs_no_code(tmp_path):
    path, mark = tmp_path / "run.pt", tmp_path / "mark"
    head = checkpoint_file.MAGIC
    runs = saved(Runs(mark))
    contents = [
        np.random.default_rng(0).bytes(10_000),
        pickle.dumps(Runs(mark)),
        runs,
        head + checkpoint_file.checksum(runs) + runs,  # forged
        saved({"run": {}}),
        pickle.dumps({"run": {}}),
        b"}N" + b"\x85" * 200_000 + b"I1\ns.",
        b"Nr" + struct.pack("<I", 2**28) + b".",
        b"PK\x03\x04" + b"\0" * 100,
        head,
        head + b"\0" * 32,
    ]
    for content in contents:
        path.write_bytes(content)
        assert "\n" not in refusal(path)
    assert not mark.exists()
