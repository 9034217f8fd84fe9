"""Write the API page from each public package's ``__all__``, so that it cannot go stale.

Needs no Sphinx: the test suite imports it to compare the page with the packages.
"""

import importlib
import importlib.util
from pathlib import Path

# In the order of the page. A new package belongs here or, if users do not import from it, among
# the internal modules that tests/test_architecture.py lists.
PUBLIC_PACKAGES = (
    "sknoisy",
    "sknoisy.pipeline",
    "sknoisy.base",
    "sknoisy.callbacks",
    "sknoisy.meta",
    "sknoisy.methods.dmlp",
    "sknoisy.methods.mild",
    "sknoisy.methods.mlnt",
    "sknoisy.noise",
    "sknoisy.metrics",
    "sknoisy.mixture",
    "sknoisy.representation",
    "sknoisy.networks",
    "sknoisy.inspection",
    "sknoisy.datasets",
    "sknoisy.exceptions",
)

HEADER = """\
.. _api:

=============
API reference
=============

What is listed here is public: import it from the package under whose heading it stands. Modules
inside these packages, and packages that are not listed, may change without notice.
"""

SECTION = """
{package}
{underline}

.. automodule:: {package}
   :no-members:

.. currentmodule:: {package}

.. autosummary::
{options}

{names}
"""


def public_names():
    """Return ``{package: its __all__}`` for the public packages that exist and export names."""
    exported = {}
    for package in PUBLIC_PACKAGES:
        if importlib.util.find_spec(package) is not None:
            names = getattr(importlib.import_module(package), "__all__", ())
            if names:
                exported[package] = list(names)
    return exported


def _options(package, names):
    """Pages of their own, unless all names come from elsewhere, with references to pages there."""
    module = importlib.import_module(package)
    homes = [getattr(getattr(module, name), "__module__", "sknoisy") for name in names]
    pages = any(home.split(".")[0] == "sknoisy" for home in homes)
    return ("   :toctree: reference\n" if pages else "") + "   :nosignatures:"


def api_page():
    """Return the page as reStructuredText."""
    sections = [
        SECTION.format(
            package=package,
            underline="=" * len(package),
            options=_options(package, names),
            names="\n".join(f"   {name}" for name in names),
        )
        for package, names in public_names().items()
    ]
    return HEADER + "".join(sections)


def _write_page(app, config):
    target = Path(app.srcdir) / "generated" / "api.rst"
    target.parent.mkdir(exist_ok=True)
    target.write_text(api_page(), encoding="utf-8")


def setup(app):
    """Write the page before Sphinx looks for sources."""
    app.connect("config-inited", _write_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
