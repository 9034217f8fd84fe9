"""Output files: what is refused before the work, and that all files appear or none."""

import os

import pytest

from sknoisy.audit.files import InputError, OutputFiles


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("a\n1\n", encoding="utf-8")
    return path


def contents(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_files_appear_together_at_the_end(tmp_path, data):
    first, second = tmp_path / "new" / "deep" / "a.html", tmp_path / "b.csv"
    with OutputFiles([first, second], [data], force=False) as files:
        files.write_text(first, "one")
        files.write_text(second, "two")
        assert not first.exists()
        assert not second.exists()
    assert (first.read_text(), second.read_text()) == ("one", "two")
    assert contents(tmp_path) == ["b.csv", "data.csv", "new", "new/deep", "new/deep/a.html"]


def test_after_an_error_nothing_is_left(tmp_path, data):
    target, old = tmp_path / "new" / "a.html", tmp_path / "old.csv"
    old.write_text("old", encoding="utf-8")

    def fail():
        with OutputFiles([target, old], [data], force=True) as files:
            files.write_text(old, "new")
            files.write_text(target, "one")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert contents(tmp_path) == ["data.csv", "old.csv"]
    assert old.read_text() == "old"


def test_the_input_is_never_a_target_not_even_by_another_name(tmp_path, data):
    os.link(data, tmp_path / "same.csv")
    (tmp_path / "link.csv").symlink_to(data)
    for name in ("data.csv", "same.csv", "link.csv"):
        with pytest.raises(InputError, match="is the input"):
            OutputFiles([tmp_path / name], [data], force=True)


def test_links_folders_and_existing_files_are_refused(tmp_path, data):
    (tmp_path / "link.html").symlink_to(tmp_path / "elsewhere.html")
    (tmp_path / "folder").mkdir()
    (tmp_path / "there.html").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, message in [
        ("link.html", "is a link"),
        ("folder", "is a folder"),
        ("pipe", "is a device or a pipe"),
        ("there.html", "--force"),
        ("there.html/a.html", "is not a folder"),
    ]:
        with pytest.raises(InputError, match=message):
            OutputFiles([tmp_path / name], [data], force=False)
    OutputFiles([tmp_path / "there.html"], [data], force=True)


def test_one_file_cannot_be_two_outputs(tmp_path, data):
    target = tmp_path / "a.html"
    with pytest.raises(InputError, match="two outputs"):
        OutputFiles([target, tmp_path / "." / "a.html"], [data], force=False)
