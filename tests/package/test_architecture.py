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

import sknoisy
from sknoisy.methods.registry import ESTIMATORS, METHODS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "sknoisy"

# From the ground up. A part may import what stands on a lower floor, never what stands beside or
# above it; sknoisy/__init__.py, the roof, is imported by nobody.
FLOORS = (
    {"exceptions", "_compat", "_docs"},
    {"meta", "noise"},
    {"networks", "datasets"},
    {"_engine"},
    {"mixture", "metrics", "learners"},
    {"callbacks"},
    {"base", "cleaning", "representation"},
    {"methods"},
    {"pipeline", "inspection", "audit"},
    {"__main__"},
)
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}

# Parts whose names users import from `sknoisy` itself, or not at all; so are those with a `_`.
INTERNAL = {"cleaning", "learners"}

MAX_CODE_LINES = 400
MAX_ARROWS = 62


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


def test_parts_depend_on_few_others():
    """Prints the import graph; pytest -s shows it."""
    arrows = {
        (here, there)
        for name in MODULES
        if (here := part(name)) is not None
        for target in internal_imports(name)
        if (there := part(target)) not in (here, None)
    }
    for here in sorted({here for here, _ in arrows}, key=FLOOR_OF.get):
        print(f"{here:15} -> {', '.join(sorted(there for h, there in arrows if h == here))}")
    print(f"{len(arrows)} arrows")
    assert len(arrows) <= MAX_ARROWS


def test_nobody_reaches_into_the_private_modules_of_another_package():
    reached = [
        f"{name} imports {target}"
        for name in MODULES
        for target in internal_imports(name)
        if part(target) not in (part(name), "_engine", "_compat", "_docs", None)
        and any(step.startswith("_") for step in defining_module(target).split(".")[2:])
    ]
    assert reached == []


def is_private(target):
    """Return whether an absolute dotted name goes through a private module or is private."""
    return any(step.startswith("_") and not step.startswith("__") for step in target.split("."))


def test_private_names_of_other_libraries_stand_in_compat_alone():
    private = {
        f"{name} imports {target}"
        for name in MODULES
        if name != "sknoisy._compat"
        for target in imports(name)
        if target.split(".")[0] != "sknoisy" and is_private(target)
    }
    assert private == set()
    assert len([target for target in imports("sknoisy._compat") if is_private(target)]) > 5


def test_private_attributes_of_other_libraries_are_used_in_compat_alone():
    pattern = re.compile(r"\b(?:torch|sklearn|skorch|imblearn|np|scipy)(?:\.\w+)*\._[a-zA-Z]")
    used = {name for name, path in MODULES.items() if pattern.search(path.read_text("utf-8"))}
    assert used == {"sknoisy._compat"}


def test_the_package_shows_its_public_names_alone():
    code = "import sknoisy; print(*dir(sknoisy)); sknoisy.noise.symmetric; sknoisy.methods.mlnt"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    public = {part(name) for name in load_public_api().PUBLIC_PACKAGES} - {None}
    assert set(out) == {*sknoisy.__all__, *public, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sknoisy.nothing  # noqa: B018


def test_all_registered_estimators_are_public():
    of_audit = {"LabelAudit", "audit_labels"}  # no estimators
    assert {*ESTIMATORS, *of_audit} == set(sknoisy.__all__)
    hints = {
        target.rpartition(".")[2]: target.rpartition(".")[0]
        for target in internal_imports("sknoisy")
        if target.rpartition(".")[2] in ESTIMATORS
    }
    assert hints == {name: f"sknoisy.{module}" for name, module in ESTIMATORS.items()}


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


def test_api_pages_list_every_public_name_once():
    public_api = load_public_api()
    listed = {name: [] for name in public_api.PUBLIC_PACKAGES if name in MODULES}
    for page in public_api.api_pages().values():
        sections = re.split(r"^\.\. currentmodule:: (\S+)$", page, flags=re.M)[1:]
        for package, body in zip(sections[::2], sections[1::2], strict=True):
            listed[package] += re.findall(r"^   (\w+)$", body, flags=re.M)
    exported = {name: sorted(importlib.import_module(name).__all__) for name in listed}
    assert {name: sorted(names) for name, names in listed.items()} == exported


def lines_of_code(source):
    """Number of lines without blank ones, comments, docstrings and constructors."""
    tree = ast.parse(source)
    left_out = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                left_out.update(range(first.lineno, first.end_lineno + 1))
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            left_out.update(range(node.lineno, node.end_lineno + 1))
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#")
        for number, line in enumerate(source.splitlines(), 1)
        if number not in left_out
    )


def test_lines_of_code_leave_out_texts_and_constructors():
    source = "\n".join(
        [
            '"""Two',
            'lines."""',
            "class A:",
            "    def __init__(self):",
            "        self.a = 1",
            "    b = 2",
        ]
    )
    assert lines_of_code(source + "\n# said\n") == 2


def test_no_python_file_is_too_long():
    lengths = {
        str(path.relative_to(ROOT)): lines_of_code(path.read_text(encoding="utf-8"))
        for path in repository_files()
        if path.suffix == ".py"
    }
    assert {name: n for name, n in lengths.items() if n > MAX_CODE_LINES} == {}


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
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, groups = settings["project"], settings["dependency-groups"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    lists += [[line for line in group if isinstance(line, str)] for group in groups.values()]
    pins = read_pins()
    unmet = [
        str(requirement)
        for requirement in map(Requirement, chain.from_iterable(lists))
        if (version := pins.get(canonicalize_name(requirement.name))) is None
        or version not in requirement.specifier
    ]
    assert unmet == []


def test_constraints_serve_every_machine():
    pins = read_pins()
    assert [name for name, version in pins.items() if "+" in version or "@" in version] == []
    only_on_gpus = ("nvidia", "triton", "cuda", "torchvision")
    assert [name for name in pins if name.startswith(only_on_gpus)] == []


def test_each_method_has_a_test_file_of_its_name():
    tests = ROOT / "tests" / "methods"
    missing = [
        key
        for key in METHODS
        if not (tests / f"test_{key}.py").is_file()
        and not (tests / key / f"test_{key}.py").is_file()
    ]
    assert missing == []
    assert list((tests / "auto").glob("test_*.py"))
