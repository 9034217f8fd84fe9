"""The registry of methods, and the tables and pages that list them for readers."""

import importlib.util
import re
from pathlib import Path

import pytest

from sknoisy.methods.registry import ESTIMATORS, METHODS

ROOT = Path(__file__).resolve().parents[2]


def readme_rows():
    """Return the rows of README's table of methods by the estimator that they name."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| (.+?) \| `sknoisy\.(\w+)` \|.*$", text, flags=re.M)
    return {estimator: method for method, estimator in found}


def test_readme_names_every_estimator():
    assert ESTIMATORS.keys() <= readme_rows().keys()


@pytest.mark.parametrize("key", METHODS)
def test_readme_names_the_paper_of_each_method(key):
    assert METHODS[key].paper in readme_rows()[METHODS[key].estimator]


@pytest.mark.parametrize("key", METHODS)
def test_each_method_has_a_page_that_names_its_class_and_paper(key):
    page = (ROOT / "docs" / "methods" / f"{key}.rst").read_text(encoding="utf-8")
    assert page.startswith(f".. _{key}:\n")
    assert f":class:`{METHODS[key].estimator}`" in page
    assert METHODS[key].paper in " ".join(page.split())


def test_the_index_has_the_pages_and_includes_the_table():
    index = (ROOT / "docs" / "methods" / "index.rst").read_text(encoding="utf-8")
    assert METHODS.keys() == set(re.findall(r"^   (\w+)$", index, flags=re.M)) - {"comparison"}
    assert ".. include:: ../generated/methods_table.inc" in index


def test_the_table_has_one_row_per_method():
    spec = importlib.util.spec_from_file_location(
        "methods_table", ROOT / "docs" / "_ext" / "methods_table.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rows = module.methods_table().split("   * - ")[2:]
    for row, (key, method) in zip(rows, METHODS.items(), strict=True):
        assert f"<{key}>`" in row
        for text in (method.title, f"`~sknoisy.{method.estimator}`", method.idea, method.paper):
            assert text in row
