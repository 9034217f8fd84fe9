"""The file of a checkpoint: written whole or not at all, and read only if it is one.

A file holds :data:`MAGIC`, the digest of the rest, and the rest, which ``torch.save`` wrote. Only
a file whose digest is right is parsed, as tensors and plain values.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import stat
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["as_bytes", "check_path", "digest_of_file", "from_bytes", "read_file", "write_file"]

MAGIC = b"sknoisy checkpoint 3\n"
_DIGEST_SIZE = 32


def check_path(checkpoint: str | os.PathLike) -> Path:
    """Return the path of a file that can be written.

    Raises
    ------
    ValueError
        If its folder does not exist or cannot be written, or if the path is a folder, a symbolic
        link or a special file.
    """
    path = Path(checkpoint)
    name = f"checkpoint={str(path)!r}"
    if not path.parent.is_dir():
        raise ValueError(
            f"{name} cannot be written: there is no folder {str(path.parent)!r}. Make it first."
        )
    if not os.access(path.parent, os.W_OK):
        raise ValueError(
            f"{name} cannot be written: the folder {str(path.parent)!r} is read-only for this "
            "process. Pass a path in another folder."
        )
    if path.is_symlink():
        raise ValueError(
            f"{name} is a symbolic link to {str(os.readlink(path))!r}. Pass the path of the file."
        )
    if path.is_dir():
        raise ValueError(f"{name} is a folder; pass the path of a file in it.")
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{name} is a pipe, a socket or a device; pass the path of a file.")
    return path


def write_file(path: Path, content: bytes) -> bytes:
    """Replace a file by another content, and return its digest.

    If that fails, OSError is raised, and the file stays.
    """
    digest = checksum(content)
    # A new name that nobody can have planted as a link: mode "x" never opens an existing one.
    unfinished = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(unfinished, "xb") as file:
            file.write(MAGIC + digest + content)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the new name without its content
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return digest


def digest_of_file(path: Path) -> bytes | None:
    """Return the digest that a file holds of its content, None if there is no file."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(len(MAGIC))
        return file.read(_DIGEST_SIZE)


def read_file(path: Path) -> dict[str, Any] | None:
    """Return what a file holds, None if there is no file.

    ValueError is raised for any other file than a whole checkpoint.
    """
    if not path.exists():
        return None
    try:
        content = parse(path)
        if not isinstance(content["run"], dict) or not isinstance(content["trainings"], list):
            raise ValueError("it holds no run")
    except Exception as error:  # torch and pickle raise a dozen kinds
        trouble = " ".join(f"{error}".split())
        raise ValueError(
            f"checkpoint={str(path)!r} is not a checkpoint of a training: {trouble:.200}. Pass "
            "another path, or delete the file."
        ) from error
    return content


def parse(path: Path) -> dict[str, Any]:
    """Return the content of a file; any other file than a whole checkpoint raises an error."""
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError("it does not begin as one")
        digest, content = file.read(_DIGEST_SIZE), file.read()
    if digest != checksum(content):
        raise ValueError("it is damaged")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def checksum(content: bytes) -> bytes:
    """Return the digest of a content."""
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE).digest()


def as_bytes(value: Any) -> Tensor:
    """Return tensors and plain values as one tensor of bytes."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return torch.frombuffer(bytearray(buffer.getbuffer()), dtype=torch.uint8)


def from_bytes(content: Tensor) -> Any:
    """Return what :func:`as_bytes` was given; no code in it is run."""
    buffer = io.BytesIO(content.numpy().tobytes())
    return torch.load(buffer, map_location="cpu", weights_only=True)
