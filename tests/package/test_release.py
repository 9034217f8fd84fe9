"""What a release holds and states: files, metadata, versions."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import sknoisy

ROOT = Path(__file__).resolve().parents[2]
OF_GIT_ALONE = {".gitignore", ".pre-commit-config.yaml"}
MADE_BY_THE_BUILD = {"PKG-INFO", "setup.cfg"}


def clone(folder):
    """Copy the files that git tracks, or would track, to a folder; return their names."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    names = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return names


def test_the_source_distribution_holds_the_clone_and_nothing_else(tmp_path):
    names = clone(tmp_path)
    code = "from setuptools import build_meta; build_meta.build_sdist('dist')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    (archive,) = (tmp_path / "dist").iterdir()
    assert archive.name == f"sknoisy-{sknoisy.__version__}.tar.gz"
    with tarfile.open(archive) as opened:
        files = [member.name.partition("/")[2] for member in opened if member.isfile()]
        metadata = opened.extractfile(f"sknoisy-{sknoisy.__version__}/PKG-INFO").read().decode()
    held = {name for name in files if not name.startswith("sknoisy.egg-info/")}
    assert held == names - OF_GIT_ALONE | MADE_BY_THE_BUILD
    assert re.findall("^Provides-Extra: (.*)$", metadata, flags=re.M)  # so that extras are read
    assert "cleanlab" not in metadata.partition("\n\n")[0], "its licence, AGPL, is no part of ours"


def text_and_first_code(name):
    """Return a Markdown file and its first block of Python."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return text, text.partition("```python\n")[2].partition("```")[0]


def test_the_page_of_the_package_index_stands_on_its_own():
    """Links and pictures of the repository would break there; the ten lines are README's."""
    text, code = text_and_first_code("PACKAGE.md")
    targets = re.findall(r"\]\(([^)]*)\)", text)
    assert targets
    assert [target for target in targets if not target.startswith("https://")] == []
    assert code == text_and_first_code("README.md")[1]
    assert code.count("\n") >= 10


def oldest_pins():
    """Return ``{name: version}`` of the oldest versions."""
    text = (ROOT / "requirements" / "oldest.txt").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return dict(line.split("==") for line in lines)


def test_the_oldest_versions_are_the_lower_bounds():
    """Apart from torch, whose other versions would come with gigabytes of CUDA."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = map(Requirement, project["dependencies"] + extras["audit"] + extras["plots"])
    bounds = {
        requirement.name: Version(spec.version)
        for requirement in requirements
        for spec in requirement.specifier
        if spec.operator == ">="
    }
    pins = oldest_pins()
    assert bounds.pop("torch") <= Version(sys.modules["torch"].__version__)
    above = {
        name: (str(bound), pins[name])
        for name, bound in bounds.items()
        if Version(pins[name]).release[: len(bound.release)] != bound.release
    }
    assert above == {}
