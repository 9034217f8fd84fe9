"""Facts about the tree itself: who imports whom, what is public, and what must not be written."""

import ast
import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "sknoisy"

# From the ground up. A part may import what stands on a lower floor, never what stands beside or
# above it; sknoisy/__init__.py, the roof, may import everything and is imported by nobody.
FLOORS = (
    {"exceptions", "_indexing"},
    {"meta", "noise"},
    {"metrics", "networks", "mixture", "data", "datasets"},
    {"callbacks"},
    {"net", "_construction", "_validation"},
    {"_network_estimator"},
    {"base", "representation"},
    {"purification", "selection", "semi_supervised"},
    {"classifiers"},
    {"pipeline", "inspection"},
)
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}

# Parts whose names users import from `sknoisy` itself, or not at all; so are those with a `_`.
INTERNAL = {
    "net",
    "base",
    "data",
    "classifiers",
    "purification",
    "selection",
    "semi_supervised",
}

MAX_LINES = 400


def module_name(path):
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
PACKAGES = [name for name, path in MODULES.items() if path.name == "__init__.py"]


def imports(name):
    """Return the absolute dotted names that a module imports anywhere in its body."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package[: len(package) - node.level + 1] if node.level else []
            source = [*parent, *([node.module] if node.module else [])]
            found.update(".".join([*source, alias.name]) for alias in node.names)
    return found


def part(name):
    """Return the part of the library that a dotted name belongs to, None for the roof."""
    return name.split(".")[1] if "." in name else None


def internal_imports(name):
    """Return the imports of a module that stay inside sknoisy."""
    return {target for target in imports(name) if target.split(".")[0] == "sknoisy"}


def third_party(name):
    """Return the top-level packages outside sknoisy and the standard library."""
    roots = {target.split(".")[0] for target in imports(name)}
    return roots - {"sknoisy"} - sys.stdlib_module_names


def defining_module(target):
    """Return the sknoisy module that an imported dotted name leads to."""
    while target and target not in MODULES:
        target = target.rpartition(".")[0]
    return target


def repository_files():
    """Return the files that are tracked or would be, as git sees them."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]


def load_public_api():
    """Import the script that writes the API page."""
    location = ROOT / "docs" / "_ext" / "public_api.py"
    spec = importlib.util.spec_from_file_location("public_api", location)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def all_order(name):
    """Sort key of `__all__` as ruff's RUF022 has it: constants, classes, the rest."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    digits = [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", name)]
    return kind, digits


def test_every_part_of_the_library_has_a_floor():
    parts = {part(name) for name in MODULES}
    assert parts - {None} - set(FLOOR_OF) == set(), "add the new part to FLOORS"


def test_imports_point_downward():
    upward = [
        f"{name} imports {target}"
        for name in MODULES
        if (here := part(name)) is not None
        for target in internal_imports(name)
        if (there := part(target)) != here
        if FLOOR_OF.get(there, len(FLOORS)) >= FLOOR_OF.get(here, len(FLOORS))
    ]
    assert upward == []


def test_modules_do_not_import_each_other_in_a_circle():
    graph = {
        name: {defining_module(target) for target in internal_imports(name)} - {name}
        for name, path in MODULES.items()
        if path.name != "__init__.py"  # an __init__ only gathers names
    }
    while leaves := [name for name in graph if not graph[name] & set(graph)]:
        for name in leaves:
            del graph[name]
    assert graph == {}, "what remains imports itself by way of the others"


def test_meta_needs_nothing_but_torch():
    reached, waiting = set(), [name for name in MODULES if part(name) == "meta"]
    while waiting:
        name = waiting.pop()
        if name not in reached and part(name) is not None:
            reached.add(name)
            waiting += [defining_module(target) for target in internal_imports(name)]
    assert set().union(*map(third_party, reached)) <= {"torch"}


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_sorted_unique_and_resolvable(name):
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert exported == sorted(set(exported), key=all_order)
    assert [missing for missing in exported if not hasattr(module, missing)] == []


def test_every_part_is_public_or_internal():
    public = {part(name) for name in load_public_api().PUBLIC_PACKAGES}
    parts = {part(name) for name in MODULES}
    assert public & INTERNAL == set()
    assert {name for name in parts - public - INTERNAL if not name.startswith("_")} == set()


def test_api_page_lists_every_public_name():
    public_api = load_public_api()
    sections = re.split(r"^\.\. currentmodule:: (\S+)$", public_api.api_page(), flags=re.M)[1:]
    listed = {
        package: set(re.findall(r"^   (\w+)$", body, flags=re.M))
        for package, body in zip(sections[::2], sections[1::2], strict=True)
    }
    exported = {
        name: set(importlib.import_module(name).__all__)
        for name in public_api.PUBLIC_PACKAGES
        if name in MODULES
    }
    assert listed == exported


def test_no_python_file_is_too_long():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in repository_files()
        if path.suffix == ".py"
    }
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}


def test_no_file_names_a_machine():
    """Absolute paths of somebody's machine and hosts of package registries stay out."""
    pattern = re.compile(
        r"(?<![\w.~/*)}-])/(?:home|root|tmp|Users)/\w"  # absolute; not the tail of a longer path
        r"|\bpy(?:pi|thonhosted)\b\.org|\bdownload\b\.pytorch|\bconda\b\.anaconda"
    )
    named = []
    for path in repository_files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:  # an image or an array
            continue
        hits = [number for number, line in enumerate(lines, 1) if pattern.search(line)]
        named += [f"{path.relative_to(ROOT)}:{number}" for number in hits]
    assert named == []


def read_pins():
    """Return ``{canonical name: version}`` of the constraints."""
    lines = (ROOT / "requirements" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def test_constraints_pin_every_requirement_within_its_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    pins = read_pins()
    unmet = [
        str(requirement)
        for requirement in map(Requirement, chain.from_iterable(groups))
        if (version := pins.get(canonicalize_name(requirement.name))) is None
        or version not in requirement.specifier
    ]
    assert unmet == []


def test_constraints_serve_every_machine():
    pins = read_pins()
    assert [name for name, version in pins.items() if "+" in version or "@" in version] == []
    only_on_gpus = ("nvidia", "triton", "cuda", "torchvision")
    assert [name for name in pins if name.startswith(only_on_gpus)] == []
