"""Write the API page from each public package's ``__all__``, so that it cannot go stale.

Needs no Sphinx: the test suite imports it to compare the page with the packages.
"""

import importlib
import importlib.util
from pathlib import Path

# In the order of the page. A new package belongs here or, if users do not import from it, among
# the internal modules that tests/package/test_architecture.py lists.
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
    "sknoisy.audit",
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
{summaries}"""

SUMMARY = """
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


def _has_page(package, name, elsewhere):
    """Whether a name has a page under this package: it is ours and not listed further up."""
    value = getattr(importlib.import_module(package), name)
    is_ours = getattr(value, "__module__", "sknoisy").split(".")[0] == "sknoisy"
    return is_ours and not any(value is other for other in elsewhere)


def _summaries(package, names, elsewhere):
    """One summary of the names with pages under this package, and one of the other names."""
    with_page = [name for name in names if _has_page(package, name, elsewhere)]
    without = [name for name in names if name not in with_page]
    options = "   :nosignatures:"
    return "".join(
        SUMMARY.format(options=toctree + options, names="\n".join(f"   {name}" for name in part))
        for toctree, part in (("   :toctree: reference\n", with_page), ("", without))
        if part
    )


def api_page():
    """Return the page as reStructuredText."""
    page, listed = HEADER, []
    for package, names in public_names().items():
        page += SECTION.format(
            package=package,
            underline="=" * len(package),
            summaries=_summaries(package, names, listed),
        )
        listed += [getattr(importlib.import_module(package), name) for name in names]
    return page


def _write_page(app, config):
    target = Path(app.srcdir) / "generated" / "api.rst"
    target.parent.mkdir(exist_ok=True)
    target.write_text(api_page(), encoding="utf-8")


def setup(app):
    """Write the page before Sphinx looks for sources."""
    app.connect("config-inited", _write_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
