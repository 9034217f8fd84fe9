"""Sphinx configuration; ``make docs`` turns every warning into an error and needs no network."""

import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))

project = "sknoisy"
author = "The sknoisy developers"
copyright = f"2026, {author}"
release = version = installed_version("sknoisy")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "mathml",
    "methods_table",
    "public_api",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "literal"

# Each name's page shows its docstring once; what it inherits from scikit-learn, torch and skorch
# is theirs to document.
numpydoc_show_class_members = False
autodoc_inherit_docstrings = True
autodoc_typehints = "none"

sphinx_gallery_conf = {
    "examples_dirs": str(DOCS.parent / "examples"),
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"[/\\]plot_",
    "ignore_pattern": r"^(?!plot_)",
    "doc_module": ("sknoisy",),
    "backreferences_dir": "auto_examples/backreferences",
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = f"sknoisy {release}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["mathml.css", "site.css"]
html_show_sourcelink = False
html_context = {"default_mode": "auto"}  # else the theme warns in the console of a new visitor
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
}


def _skip_inherited_methods(app, what, name, obj, skip, options):
    """Leave out what scikit-learn and imbalanced-learn add, and document themselves."""
    inherited = re.fullmatch(r"set_\w+_request|set_output|get_metadata_routing", name)
    of_pipeline = str(getattr(obj, "__module__", "")).startswith("imblearn.")
    return True if inherited or of_pipeline else None


def setup(app):
    """Connect the hook above."""
    app.connect("autodoc-skip-member", _skip_inherited_methods)
