"""Read pickles of numpy arrays without letting the file run code.

A pickle is a program: it names functions and calls them. Here names are looked up in a short
table of stand-ins and nowhere else. The stand-ins rebuild arrays of numbers from their bytes, and
check sizes first, so numpy's own unpickling, which trusts its input, is not used either. Files of
old and new numpy versions are read alike.

A pickle can also exhaust the machine without a call. A file of a few bytes may ask for memory by a
large index or length, or may nest or share tuples so that hashing or walking them never ends.
Lengths are therefore limited by the file, keys are plain values, and content that nests deeper
than the files of CIFAR is refused before it is walked.
"""

from __future__ import annotations

import functools
import io
import math
import mmap
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .._compat import PythonUnpickler

# First object of a file by torch.save in the format before version 1.6.
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C

_NUMBERS = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])
_MAX_DIMENSIONS = 32
_INT64_MAX = 2**63 - 1
_PLAIN = (bool, int, float, str, bytes, type(None))
_SHOWN = 60  # characters of a name or codec in a message


def load(path: str | os.PathLike[str]) -> Any:
    """Read a pickle, a file by ``torch.save`` (either format) or a ``.npy`` file.

    The first bytes decide the format, not the name. The content is an ndarray, a plain value, a
    list of plain values, or a dict of these. Arrays are read-only. UnpicklingError is raised if
    the file names anything but numpy arrays of numbers, nests deeper, or is damaged.
    """
    with open(path, "rb") as file:
        try:
            if file.read(4) == b"PK\x03\x04":
                return _load_torch_zip(file)
            # Reads from the map end at the end of the file, whatever length is asked for.
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _load_npy(content) if content[:6] == b"\x93NUMPY" else _load_pickle(content)
        except Exception as error:  # a damaged pickle can raise anything
            raise pickle.UnpicklingError(f"{os.fspath(path)} cannot be read: {error}") from error
        finally:
            _latin1.cache_clear()


def _load_pickle(file: Any) -> Any:
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
        if members[0].compress_size > os.fstat(file.fileno()).st_size:
            raise pickle.UnpicklingError("its pickle is cut off")
        return _unwrap(_Unpickler(io.BytesIO(archive.read(members[0]))).load())


def _load_npy(file: Any) -> Any:
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, is_fortran, dtype = read_header(file)
    if dtype.hasobject:
        return _load_pickle(file)
    if dtype.str[1:] not in _NUMBERS:
        raise pickle.UnpicklingError(f"it holds an array of dtype {str(dtype)!r}, not of numbers")
    return _from_bytes(file.read(), dtype, shape, "F" if is_fortran else "C")


class _Unpickler(PythonUnpickler):
    """An unpickler that resolves names to stand-ins only.

    It derives from Python's own unpickler, not from the one in C, which allocates as many entries
    as the largest index of the memo asks for.
    """

    dispatch = dict(PythonUnpickler.dispatch)

    def __init__(self, file: Any) -> None:
        # latin1 keeps the bytes of Python 2's strings, which hold the data of its arrays.
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it names {module[:_SHOWN]}.{name[:_SHOWN]}, and only numpy arrays of numbers, "
                "lists, dicts and strings are read (a tensor is stored by tensor.numpy()). "
                "Nothing was executed"
            ) from None

    def _update(self, content: Any, pairs: list[Any]) -> None:
        """Add keys and values to a dict. Hashing a nested tuple might crash, or never end."""
        keys = pairs[::2]
        if type(content) is not dict or not all(type(key) in _PLAIN for key in keys):
            raise pickle.UnpicklingError("it holds a key that is neither a string nor a number")
        content.update(zip(keys, pairs[1::2], strict=True))

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        pairs = self.pop_mark()
        self._update(self.stack[-1], pairs)

    def load_dict(self) -> None:
        pairs = self.pop_mark()
        self.append({})
        self._update(self.stack[-1], pairs)

    def load_bytearray8(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(min(length, _INT64_MAX))))

    def refuse(self) -> None:
        raise pickle.UnpicklingError("it holds an opcode that no array of numbers needs")

    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    for _opcode in (
        *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET),  # they hash their items
        *(pickle.EXT1, pickle.EXT2, pickle.EXT4),  # they name functions by numbers
        *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX),
        *(pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
    ):
        dispatch[_opcode[0]] = refuse


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
        name = _text(name)
        if name in _NUMBERS:
            self.dtype = np.dtype(name)
        elif name in ("O", "O8"):
            self.dtype = None  # objects: a .npy file wraps a dict in such an array
        else:
            raise pickle.UnpicklingError(
                f"it holds an array of dtype {name[:_SHOWN]!r}, not of numbers"
            )

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
        raw = _latin1(raw)
    if not isinstance(raw, bytes | bytearray):
        raise pickle.UnpicklingError(f"it makes an array from a {type(raw).__name__}")
    # Checked before the product, which would never end for numbers of thousands of digits.
    if (
        not isinstance(shape, tuple)
        or len(shape) > _MAX_DIMENSIONS
        or not all(type(size) is int and 0 <= size <= _INT64_MAX for size in shape)
    ):
        raise pickle.UnpicklingError(f"{len(raw)} bytes do not make an array of its shape")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise pickle.UnpicklingError(f"{len(raw)} bytes do not make an array of shape {shape}")
    return np.ndarray(shape, dtype, buffer=raw, order=order)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise pickle.UnpicklingError(f"it holds a {type(value).__name__} in place of a name")
    return value


@functools.cache  # a string that a file uses many times has its bytes in memory once
def _latin1(text: str) -> bytes:
    return text.encode("latin1")


def _encode(text: str, encoding: str) -> bytes:
    """Return bytes that Python 3 wrote in protocol 2; only latin1 is needed for them."""
    if _text(encoding) not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it uses the codec {encoding[:_SHOWN]!r}")
    return _latin1(_text(text))


def _unwrap(content: Any) -> Any:
    """Replace stand-ins by their arrays, and refuse what nests deeper than a dict of lists."""
    if isinstance(content, _Array):
        content = content.value
    if isinstance(content, dict):
        return {key: _unwrap_value(value) for key, value in content.items()}
    return _unwrap_value(content)


def _unwrap_value(value: Any) -> Any:
    if isinstance(value, _Array):
        value = value.value
    entries = value if isinstance(value, list | tuple) else [value]
    for entry in entries:
        if type(entry) is int and not -_INT64_MAX <= entry <= _INT64_MAX:
            raise pickle.UnpicklingError("it holds an integer of more than 64 bits")
        if type(entry) not in _PLAIN and entry is not value:
            raise pickle.UnpicklingError(f"it nests a {type(entry).__name__} in a list")
    if type(value) not in (*_PLAIN, list, tuple, bytearray, np.ndarray):
        raise pickle.UnpicklingError(f"it holds a {type(value).__name__}, not numbers")
    return value


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
