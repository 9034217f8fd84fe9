"""Folders of images for the audit: a folder for each class."""

from __future__ import annotations

import base64
import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cells import visible
from .files import InputError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageFolders", "read_image_folders", "thumbnail"]

_SIZE = 32  # pixels of width and height that the audit sees
_THUMBNAIL = 96  # pixels of width or height that the report shows
_NAMED = 5  # unreadable files that a note names
_ENDINGS = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # no others are tried


class ImageFolders(NamedTuple):
    """Images of a common size with their labels.

    Parameters
    ----------
    X : ndarray of uint8 of shape (n, 32, 32, C)
        Images; C is 1 if all of them are grey, else 3.
    labels : list of str
        Name of the folder of each image.
    names : list of str
        Path of each image below the folder that was read.
    notes : tuple of str
        Files that were left out.
    """

    X: NDArray[np.uint8]
    labels: list[str]
    names: list[str]
    notes: tuple[str, ...]


def read_image_folders(path: Path) -> ImageFolders:
    """Read all images in the folders of a folder; each of those is a class.

    Links are not followed. Images are resized to 32 x 32 pixels without regard to their sides.

    Parameters
    ----------
    path : Path
        Folder with a folder for each class.

    Raises
    ------
    InputError
        If it is no folder, has no folders, or holds no image that can be read.
    """
    name = visible(os.fspath(path))
    if not path.is_dir():
        raise InputError(f"{name} is no folder. Name one that has a folder for each class.")
    files: list[Path] = []
    others = 0
    try:
        folders = sorted(entry for entry in path.iterdir() if _is_own_folder(entry))
        for folder in folders:
            for file in sorted(folder.rglob("*")):
                if file.is_symlink() or not file.is_file():
                    continue
                if file.suffix.lower() in _ENDINGS:
                    files.append(file)
                else:
                    others += 1
    except PermissionError as error:
        raise InputError(f"{visible(error.filename)} may not be read: no rights.") from error
    if not files:
        raise InputError(
            f"{name} has no images in folders. Put the images of each class into a folder of its "
            "name, as in images/cat/1.png."
        )
    return _read_all(path, files, others)


def _is_own_folder(entry: Path) -> bool:
    return entry.is_dir() and not entry.is_symlink() and not entry.name.startswith(".")


def _read_all(path: Path, files: list[Path], others: int) -> ImageFolders:
    """Read the images; those that cannot be read are named in a note."""
    pixels, kept, broken = [], [], []
    is_grey = True
    for file in files:
        try:
            with _opened(file) as image:
                mode = image.mode
                small = image.convert("RGB").resize((_SIZE, _SIZE))
        except _image_errors():
            broken.append(visible(os.fspath(file.relative_to(path))))
            continue
        is_grey &= mode in ("1", "L", "LA", "I", "I;16")
        pixels.append(np.asarray(small, dtype=np.uint8))
        kept.append(file.relative_to(path))
    if not pixels:
        raise InputError(f"No image in {visible(os.fspath(path))} can be read.")
    X = np.stack(pixels)
    notes = []
    if broken:
        more = ", …" if len(broken) > _NAMED else ""
        listed = ", ".join(broken[:_NAMED])
        notes.append(f"{len(broken)} files cannot be read as images: {listed}{more}.")
    if others:
        notes.append(f"{others} files are no images by their names.")
    return ImageFolders(
        X[..., :1] if is_grey else X,
        [file.parts[0] for file in kept],
        [file.as_posix() for file in kept],
        tuple(notes),
    )


def thumbnail(path: Path) -> str | None:
    """Return a small copy of an image as a ``data:`` address, None if it cannot be read.

    Parameters
    ----------
    path : Path
        The image.
    """
    try:
        with _opened(path) as image:
            small = image.convert("RGB")
            small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    except _image_errors():
        return None
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)  # a new file: it has no metadata of the old one
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _opened(path: Path) -> Image.Image:
    """Open an image of a known format; an image of absurd size is an error, not a warning."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(path, formats=_FORMATS)


def _image_errors() -> tuple[type[BaseException], ...]:
    """Return what Pillow raises for files that are no sound images."""
    from PIL import Image

    bombs = (Image.DecompressionBombWarning, Image.DecompressionBombError)
    return (OSError, ValueError, SyntaxError, *bombs)
