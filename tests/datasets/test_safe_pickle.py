"""The restricted unpickler: what it reads, and that a hostile file runs nothing."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from sknoisy.datasets import load_cifar10, load_cifar_n
from sknoisy.datasets._safe_pickle import _STAND_INS, load

ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3)),
    np.array([True, False]),
    np.array(3.5, dtype=">f4"),
    np.zeros((0, 3), dtype=np.float16),
]


def write(content, path):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_come_back(tmp_path, array, protocol):
    path = write(pickle.dumps({"a": array, b"b": b"\xff"}, protocol), tmp_path / "file")
    content = load(path)
    assert_array_equal(content["a"], array)
    assert content["a"].dtype == array.dtype
    assert content[b"b"] == b"\xff"
    assert_array_equal(load(write(pickle.dumps(array, protocol), tmp_path / "file")), array)


def test_plain_values_come_back(tmp_path):
    content = {"list": [1, 2.5, None, True], "bytes": b"", "scalar": np.float32(0.5)}
    for protocol in (0, 2, 4):
        assert load(write(pickle.dumps(content, protocol), tmp_path / "file")) == content
    ordered = OrderedDict(b=1, a=[2])
    assert load(write(pickle.dumps(ordered), tmp_path / "file")) == {"b": 1, "a": [2]}


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_npy_files_of_numbers_come_back(tmp_path, array):
    np.save(tmp_path / "file.npy", array)
    assert_array_equal(load(tmp_path / "file.npy"), array)


# Hostile files. A first check shows that the ordinary reader executes each of them.


class Call:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(marker):
    """Return calls that make the folder `marker`."""
    return {
        "posix.system": Call(os.system, f"mkdir {marker}"),
        "builtins.eval": Call(eval, f"__import__('os').mkdir({str(marker)!r})"),
        "builtins.exec": Call(exec, f"import os; os.mkdir({str(marker)!r})"),
        "posix.mkdir": Call(os.mkdir, str(marker)),
    }


CALLS = list(hostile("."))


def as_pickle(protocol):
    def save(content, path):
        path.write_bytes(pickle.dumps(content, protocol))

    return save, lambda path: pickle.loads(path.read_bytes())


def save_npy(content, path):
    with open(path, "wb") as file:
        np.save(file, np.array(content))


FORMATS = {
    **{f"protocol {p}": as_pickle(p) for p in range(pickle.HIGHEST_PROTOCOL + 1)},
    "torch zip": (torch.save, lambda path: torch.load(path, weights_only=False)),
    "torch legacy": (
        lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
        lambda path: torch.load(path, weights_only=False),
    ),
    "npy": (save_npy, lambda path: np.load(path, allow_pickle=True)),
}


@pytest.mark.skipif(os.name != "posix", reason="the calls are those of POSIX systems")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("save", "trusting_load"), FORMATS.values(), ids=FORMATS)
def test_hostile_files_run_nothing(tmp_path, call, save, trusting_load):
    marker = tmp_path / "marker"
    path = tmp_path / "labels"
    save({"clean_label": hostile(marker)[call]}, path)
    trusting_load(path)
    assert marker.exists(), "the file is not hostile"
    marker.rmdir()
    name = call.split(".")[1]
    with pytest.raises(pickle.UnpicklingError, match=rf"names \w+\.{name}.*Nothing was executed"):
        load_cifar_n(path)
    assert not marker.exists()


@pytest.mark.parametrize("call", CALLS)
def test_hostile_batches_run_nothing(tmp_path, call):
    marker = tmp_path / "marker"
    as_pickle(2)[0]({b"data": hostile(marker)[call]}, tmp_path / "data_batch_1")
    with pytest.raises(pickle.UnpicklingError, match="Nothing was executed"):
        load_cifar10(tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"(S'true'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'true'\no.",  # OBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",  # STACK_GLOBAL
        b"\x80\x04\x8c\x05numpy\x8c\x12ndarray.__setattr__\x93.",  # a dotted name
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\n__dict__\n.",
        b"cbuiltins\ngetattr\n.",
        b"cfunctools\npartial\n.",
        b"csknoisy.datasets._safe_pickle\n_STAND_INS\n.",
        b"Pid\n.",  # PERSID
        b"\x80\x02\x82\x01.",  # EXT1
        b"cnumpy\ndtype\n)\x81.",  # NEWOBJ of something that is no class
    ],
)
def test_other_ways_to_a_name_are_closed(tmp_path, program):
    with pytest.raises(pickle.UnpicklingError):
        load(write(program, tmp_path / "file"))


@pytest.mark.parametrize("name", sorted({".".join(key) for key in _STAND_INS}))
@pytest.mark.parametrize("state", [b"(d", b"(N(dt"])
def test_stand_ins_cannot_be_altered(tmp_path, name, state):
    """The opcode BUILD sets attributes of a named object, unless the object refuses."""
    module, _, attribute = name.rpartition(".")
    program = b"c" + module.encode() + b"\n" + attribute.encode() + b"\n" + state + b"b."
    with pytest.raises(pickle.UnpicklingError, match="alter a function"):
        load(write(program, tmp_path / "file"))


class Reduced:
    """Stands for an array whose pickled state is given."""

    def __init__(self, *state):
        self.state = state

    def __reduce__(self):
        return np.ndarray.__reduce__(np.zeros(0))[0], (np.ndarray, (0,), b"b"), self.state


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Reduced(1, (3,), np.dtype("i8"), False, b"12345678"), "8 bytes do not make"),
        (Reduced(1, (-1,), np.dtype("i8"), False, b""), "do not make"),
        (Reduced(1, (2**62,), np.dtype("i8"), False, b""), "0 bytes do not make"),
        (Reduced(1, (2**40,), np.dtype("u1"), False, 2**40), "array from a int"),
        (Reduced(1, (2,), np.dtype("O"), False, [1, 2]), "array of objects"),
        (np.array(["a"]), "dtype 'U1'"),
        (np.zeros(1, dtype="i4,O"), "dtype 'V12'"),
        (np.zeros(1, dtype="M8[s]"), "dtype 'M8'"),
        (Call(__import__("codecs").encode, "text", "rot13"), "rot13"),
    ],
)
def test_arrays_that_lie_or_hold_no_numbers_are_refused(tmp_path, content, message):
    with pytest.raises(pickle.UnpicklingError, match=message):
        load(write(pickle.dumps(content, 2), tmp_path / "file"))


def zipped(names, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name in names:
            archive.writestr(name, pickle.dumps({}))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG",
        pickle.dumps(list(range(100)))[:-20],
        pickle.dumps(0x1950A86A20F9469CFC6C),  # the legacy format of torch, cut off
        zipped(["labels.csv"]),
        zipped(["a/data.pkl", "b/data.pkl"]),
        zipped(["a/data.pkl"], zipfile.ZIP_DEFLATED),
        zipped(["a/data.pkl"])[:-30],
        b"\x93NUMPY\x09\x00",
        b"\x93NUMPY\x01\x00\x02\x00{}",
    ],
    ids=[
        "empty",
        "image",
        "cut",
        "torch legacy, cut",
        "zip",
        "two pickles",
        "compressed",
        "zip, cut",
        "npy version",
        "npy header",
    ],
)
def test_damaged_files_are_said_to_be(tmp_path, content):
    with pytest.raises(pickle.UnpicklingError, match="file cannot be read"):
        load(write(content, tmp_path / "file"))
    assert load(write(zipped(["a/data.pkl"]), tmp_path / "file")) == {}
