"""Read pickles of numpy arrays without letting the file run code.

A pickle is a program: it names functions and calls them. Here names are looked up in a short
table of stand-ins and nowhere else. The stand-ins rebuild arrays of numbers from their bytes, and
check sizes first, so numpy's own unpickling, which trusts its input, is not used either. Files of
old and new numpy versions are read alike.
"""

from __future__ import annotations

import math
import os
import pickle
import zipfile
from collections.abc import Callable
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

# First object of a file by torch.save in the format before version 1.6.
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C

_NUMBERS = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])


def load(path: str | os.PathLike[str]) -> Any:
    """Read a pickle, a file by ``torch.save`` (either format) or a ``.npy`` file.

    The first bytes decide the format, not the name. The content is a dict, a list, an ndarray or a
    plain value. Arrays are read-only, and are found at the top level or as values of a dict at the
    top level. UnpicklingError is raised if the file names anything but numpy arrays of numbers, or
    is damaged.
    """
    with open(path, "rb") as file:
        start = file.read(6)
        file.seek(0)
        try:
            if start.startswith(b"PK\x03\x04"):
                return _load_torch_zip(file)
            if start == b"\x93NUMPY":
                return _load_npy(file)
            return _load_pickle(file)
        except Exception as error:  # a damaged pickle can raise anything
            raise pickle.UnpicklingError(f"{os.fspath(path)} cannot be read: {error}") from error


def _load_pickle(file: IO[bytes]) -> Any:
    content = _Unpickler(file).load()
    if isinstance(content, int) and content == _TORCH_MAGIC:
        # Next are torch's protocol version, facts about the machine, and the content.
        _, _, content = (_Unpickler(file).load() for _ in range(3))
    return _unwrap(content)


def _load_torch_zip(file: IO[bytes]) -> Any:
    with zipfile.ZipFile(file) as archive:
        members = [m for m in archive.infolist() if m.filename.endswith("/data.pkl")]
        # torch.save never compresses; a compressed member may expand to any size.
        if len(members) != 1 or members[0].compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError("it is a zip file, but not one by torch.save")
        with archive.open(members[0]) as member:
            return _unwrap(_Unpickler(member).load())


def _load_npy(file: IO[bytes]) -> Any:
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    _, _, dtype = read_header(file)
    if dtype.hasobject:
        return _load_pickle(file)
    file.seek(0)
    return np.load(file, allow_pickle=False)


class _Unpickler(pickle.Unpickler):
    """An unpickler that resolves names to stand-ins only."""

    def __init__(self, file: IO[bytes]) -> None:
        # latin1 keeps the bytes of Python 2's strings, which hold the data of its arrays.
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}, and only numpy arrays of numbers, lists, dicts and "
                "strings are read (a tensor is stored by tensor.numpy()). Nothing was executed"
            ) from None


class _StandIn:
    """A function that a file may name and call, but not change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it tries to alter a function")


class _DType:
    """Stand-in for ``numpy.dtype``."""

    __slots__ = ("dtype",)

    def __init__(self, name: str, *_: Any) -> None:
        self.dtype: np.dtype[Any] | None
        if name in _NUMBERS:
            self.dtype = np.dtype(name)
        elif name in ("O", "O8"):
            self.dtype = None  # objects: a .npy file wraps a dict in such an array
        else:
            raise pickle.UnpicklingError(f"it holds an array of dtype {name!r}, not of numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        byte_order = state[1]
        if self.dtype is not None and byte_order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(byte_order)


class _Array:
    """Stand-in for ``numpy.ndarray``, empty until ``__setstate__`` is called."""

    __slots__ = ("value",)

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        if dtype.dtype is not None:
            self.value = _from_bytes(raw, dtype.dtype, shape, "F" if fortran else "C")
        elif shape == () and len(raw) == 1:
            (self.value,) = raw
        else:
            raise pickle.UnpicklingError("it holds an array of objects, not of numbers")


def _from_bytes(raw: Any, dtype: np.dtype[Any], shape: Any, order: Any) -> NDArray[Any]:
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    if not isinstance(raw, bytes | bytearray):
        raise pickle.UnpicklingError(f"it makes an array from a {type(raw).__name__}")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(raw):
        raise pickle.UnpicklingError(f"{len(raw)} bytes do not make an array of shape {shape}")
    return np.ndarray(shape, dtype, buffer=raw, order=order)


def _encode(text: str, encoding: str) -> bytes:
    """Return bytes that Python 3 wrote in protocol 2; only latin1 is needed for them."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it uses the codec {encoding!r}")
    return text.encode("latin1")


def _unwrap(content: Any) -> Any:
    """Replace stand-ins by their arrays, at the top level and one level below."""
    if isinstance(content, _Array):
        content = content.value
    if isinstance(content, dict):
        return {k: v.value if isinstance(v, _Array) else v for k, v in content.items()}
    return content


_CORE_STAND_INS = {
    ("multiarray", "_reconstruct"): _StandIn(lambda *_: _Array()),
    ("multiarray", "scalar"): _StandIn(
        lambda dtype, raw: _from_bytes(raw, dtype.dtype, (), "C").item()
    ),
    ("numeric", "_frombuffer"): _StandIn(
        lambda raw, dtype, shape, order: _Array(_from_bytes(raw, dtype.dtype, shape, order))
    ),
}
_STAND_INS = {
    ("numpy", "ndarray"): _StandIn(_Array),
    ("numpy", "dtype"): _StandIn(_DType),
    ("_codecs", "encode"): _StandIn(_encode),
    ("collections", "OrderedDict"): _StandIn(lambda: {}),
    **{(module, "bytes"): _StandIn(lambda: b"") for module in ("builtins", "__builtin__")},
    # numpy 2 renamed numpy.core to numpy._core.
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for (module, name), stand_in in _CORE_STAND_INS.items()
    },
}
