"""Output files of the audit: checked before the work begins, written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from .cells import visible

__all__ = ["InputError", "OutputFiles"]


class InputError(ValueError):
    """Error of the command: the input cannot be used. The message is one line with the cure."""


class OutputFiles:
    """Files that appear together, or not at all.

    Each file is written beside its target under a temporary name. All are renamed at the end of
    the ``with`` block; when the block fails, the temporary files and new folders are removed.

    Parameters
    ----------
    targets : iterable of Path
        Files that will be written.
    inputs : iterable of Path
        Files that must not be overwritten.
    force : bool
        Whether to replace files that exist.

    Raises
    ------
    InputError
        If a target is an input, a link, a folder, a device, exists (without `force`), is named
        twice, or lies in a folder that cannot be written to. Nothing has been written then.
    """

    def __init__(self, targets: Iterable[Path], inputs: Iterable[Path], force: bool):
        self._targets = list(targets)
        self._new_folders: list[Path] = []
        self._temporary: dict[Path, Path] = {}
        inputs = list(inputs)
        for position, target in enumerate(self._targets):
            _check_target(target, inputs, force)
            if target.absolute() in [earlier.absolute() for earlier in self._targets[:position]]:
                raise InputError(f"{_named(target)} is named for two outputs. Name another file.")

    def __enter__(self) -> OutputFiles:
        return self

    def temporary(self, target: Path) -> Path:
        """Return the path under which to write the file of a target."""
        missing = []
        folder = target.absolute().parent
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            folder.mkdir()
            self._new_folders.append(folder)
        path = target.absolute().with_name(f".sknoisy-{secrets.token_hex(8)}{target.suffix}")
        path.touch(exist_ok=False)
        self._temporary[target] = path
        return path

    def write_text(self, target: Path, text: str) -> None:
        """Write the file of a target in UTF-8."""
        self.temporary(target).write_text(text, encoding="utf-8", newline="")

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            if kind is None:
                for target, path in self._temporary.items():
                    os.replace(path, target)
        finally:
            for path in self._temporary.values():
                path.unlink(missing_ok=True)
            if kind is not None:
                for folder in reversed(self._new_folders):
                    folder.rmdir()


def _check_target(target: Path, inputs: list[Path], force: bool) -> None:
    """Raise InputError if a file must not be written here."""
    name = _named(target)
    try:
        if any(target.exists() and path.exists() and target.samefile(path) for path in inputs):
            raise InputError(f"{name} is the input. Name another output file.")
        if target.is_symlink():
            raise InputError(f"{name} is a link. Name the file that it leads to, or another one.")
        if target.is_dir():
            raise InputError(f"{name} is a folder. Name a file in it.")
        if target.exists() and not target.is_file():
            raise InputError(f"{name} is a device or a pipe. Name a file.")
        if target.exists() and not force:
            raise InputError(f"{name} exists. Name another file, or replace it with --force.")
        folder = target.absolute().parent
        while not folder.exists():
            folder = folder.parent
    except PermissionError as error:
        raise InputError(f"{name} may not be looked at: no rights to its folder.") from error
    if not folder.is_dir():
        raise InputError(f"{_named(folder)} is not a folder. Name a folder for {name}.")
    if not os.access(
        folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids
    ):
        raise InputError(f"The folder {_named(folder)} may not be written to. Name another one.")


def _named(path: Path) -> str:
    """Return the path as it stands in a message."""
    return visible(os.fspath(path))
