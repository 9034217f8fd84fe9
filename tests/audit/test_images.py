"""Folders of images: what is read, what is left out, and the report with small copies."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sknoisy.audit.command import main
from sknoisy.audit.files import InputError
from sknoisy.audit.images import read_image_folders, thumbnail


@pytest.fixture
def folder(tmp_path, monkeypatch, global_random_seed):
    """Folders "day" and "night" of 40 bright and 40 dark images; two lie in the wrong folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(global_random_seed)
    for number in range(80):
        is_day = number % 2 == 0
        pixels = rng.integers(150 * is_day, 100 + 150 * is_day, (12, 16, 3), dtype=np.uint8)
        place = Path("photos") / ("day" if is_day != (number in (10, 33)) else "night")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:02d}.png")
    return tmp_path / "photos"


def test_a_folder_is_a_class_and_all_images_have_one_size(folder):
    images = read_image_folders(folder)
    assert images.X.shape == (80, 32, 32, 3)
    assert images.X.dtype == np.uint8
    assert images.labels == [name.split("/")[0] for name in images.names]
    assert images.names == sorted(images.names)
    brightness = images.X.mean(axis=(1, 2, 3))
    is_day = np.array([int(Path(name).stem) % 2 == 0 for name in images.names])
    assert brightness[is_day].min() > brightness[~is_day].max()


def test_grey_images_keep_one_channel(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8), 77).save(tmp_path / name / "1.png")
    assert read_image_folders(tmp_path).X.shape == (2, 32, 32, 1)
    Image.new("RGB", (8, 8), (77, 0, 0)).save(tmp_path / "b" / "2.png")
    assert read_image_folders(tmp_path).X.shape == (3, 32, 32, 3)


def test_broken_files_bombs_other_formats_and_links_are_left_out(folder, monkeypatch):
    day = folder / "day"
    (day / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
    (day / "text.png").write_text("%!PS-Adobe", encoding="utf-8")
    (day / "notes.txt").write_text("x", encoding="utf-8")
    (day / "link.png").symlink_to(day / "00.png")
    Image.new("RGB", (200, 200)).save(day / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    images = read_image_folders(folder)
    assert len(images.names) == 80
    assert "3 files cannot be read as images: day/broken.png, day/huge.png" in images.notes[0]
    assert images.notes[1].startswith("1 files are no images")
    assert thumbnail(day / "huge.png") is None


@pytest.mark.parametrize("content", ["nothing", "no folders", "a file"])
def test_what_is_no_folder_of_folders_is_named(tmp_path, content):
    path = tmp_path / "photos"
    if content == "a file":
        path.write_text("x", encoding="utf-8")
    else:
        path.mkdir()
    if content == "no folders":
        Image.new("L", (8, 8)).save(path / "1.png")
    with pytest.raises(InputError, match="folder"):
        read_image_folders(path)


def test_a_thumbnail_is_small_and_has_no_metadata_of_its_file(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    Image.new("RGB", (400, 100), (200, 10, 10)).save(tmp_path / "1.jpg", exif=exif)
    assert b"secret place" in (tmp_path / "1.jpg").read_bytes()
    kind, _, content = thumbnail(tmp_path / "1.jpg").partition(";base64,")
    assert kind == "data:image/jpeg"
    with Image.open(io.BytesIO(base64.b64decode(content))) as small:
        assert small.size == (96, 24)
        assert b"secret place" not in base64.b64decode(content)


def test_the_command_finds_the_images_in_the_wrong_folder_and_shows_them(folder):
    command = ["audit", "photos", "--layout", "folders", "--method", "fast"]
    assert main([*command, "--html", "all.html", "--csv", "all.csv"]) == 0
    page = Path("all.html").read_text(encoding="utf-8")
    shown = re.findall(r'<bdi>((?:day|night)/\d\d\.png)</bdi></td><td data-head="Picture"', page)
    assert set(shown) == {"night/10.png", "day/33.png"}
    assert page.count('src="data:image/jpeg;base64,') == 2
    assert "night/10.png,night,day," in Path("all.csv").read_text(encoding="utf-8")
    assert main([*command, "--html", "none.html", "--no-values"]) == 0
    assert "data:image/" not in Path("none.html").read_text(encoding="utf-8")


def test_options_that_name_columns_are_refused(folder, capsys):
    assert main(["audit", "photos", "--layout", "folders", "--label", "kind"]) == 2
    assert "--label names a column" in capsys.readouterr().err
