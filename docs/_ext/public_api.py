"""Write the API pages from each public package's ``__all__``, so that they cannot go stale.

Needs no Sphinx: the test suite imports it to compare the pages with the packages.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import NamedTuple


class Section(NamedTuple):
    """A part of a page: the names of a package, or those of them that are named here."""

    package: str
    title: str
    names: tuple[str, ...] | None = None


class Page(NamedTuple):
    """A page of the reference: its title, what is on it, its sections."""

    title: str
    about: str
    sections: tuple[Section, ...]


# By the name of the file, in the order of the side bar. A new package belongs here or, if users do
# not import from it, among the internal modules that tests/package/test_architecture.py lists. A
# new name of ``sknoisy`` belongs to one of its sections.
PAGES = {
    "classifiers": Page(
        "Classifiers",
        "One class for each method, by family.",
        (
            Section("sknoisy", "Picks the method", ("NoisyLabelClassifier",)),
            Section(
                "sknoisy",
                "With a meta step",
                (
                    *("CLIDMUClassifier", "L2RClassifier", "MetaWeightNetClassifier"),
                    *("FaMUSClassifier", "MLCClassifier", "TransitionMLCClassifier"),
                    *("MSLCClassifier", "MLNTClassifier"),
                ),
            ),
            Section("sknoisy", "Cleaning, then a network", ("DMLPClassifier", "MILDClassifier")),
            Section(
                "sknoisy",
                "Robust losses and gradients, small losses",
                ("CDRClassifier", "CoTeachingClassifier", "ELRClassifier", "SOPClassifier"),
            ),
            Section(
                "sknoisy",
                "Semi-supervised",
                (
                    *("DivideMixClassifier", "ProMixClassifier"),
                    *("FixMatchClassifier", "FlexMatchClassifier"),
                ),
            ),
        ),
    ),
    "methods": Page(
        "Parts of single methods",
        "Settings and functions of DMLP, MILD and MLNT, for use on their own.",
        (
            Section("sknoisy.methods.dmlp", "Parts of DMLP"),
            Section("sknoisy.methods.mild", "Parts of MILD"),
            Section("sknoisy.methods.mlnt", "Parts of MLNT"),
        ),
    ),
    "cleaning": Page(
        "Cleaning and pipelines",
        "Steps that correct labels or drop rows, before any classifier.",
        (
            Section(
                "sknoisy",
                "Cleaners",
                ("CleanSampleSelector", "LabelPurifier", "PurifiedClassifier"),
            ),
            Section("sknoisy.pipeline", "Pipelines"),
        ),
    ),
    "audit": Page(
        "Audit",
        "The list of labels that look wrong.",
        (
            Section("sknoisy", "From sknoisy", ("LabelAudit", "LabelAuditor", "audit_labels")),
            Section("sknoisy.audit", "The package"),
        ),
    ),
    "noise": Page(
        "Noise",
        "Wrong labels for experiments, and estimates of how many there are.",
        (Section("sknoisy.noise", "Generators and estimates"),),
    ),
    "metrics": Page(
        "Metrics",
        "Scores for the choice of a model when the labels may be wrong.",
        (Section("sknoisy.metrics", "Scores and scorers"),),
    ),
    "mixture": Page(
        "Mixtures",
        "Splits of the rows by their losses or scores.",
        (Section("sknoisy.mixture", "Mixtures of two components"),),
    ),
    "representation": Page(
        "Features and networks",
        "Features learned without labels, and the networks inside the classifiers.",
        (
            Section("sknoisy.representation", "Features without labels"),
            Section("sknoisy.networks", "Networks"),
        ),
    ),
    "inspection": Page(
        "Pictures of a fit",
        "Suspects, losses, weights, learning dynamics.",
        (Section("sknoisy.inspection", "Displays"),),
    ),
    "datasets": Page(
        "Data sets",
        "Noisy and long-tailed data to try things on.",
        (Section("sknoisy.datasets", "Loaders and generators"),),
    ),
    "extending": Page(
        "Parts for a method of your own",
        "Base classes, callbacks for skorch, meta gradients in plain PyTorch.",
        (
            Section("sknoisy.base", "Base classes"),
            Section("sknoisy.callbacks", "Callbacks"),
            Section("sknoisy.meta", "Meta updates"),
        ),
    ),
    "exceptions": Page(
        "Warnings and errors",
        "What fits and predictions warn of, and how they fail.",
        (Section("sknoisy.exceptions", "Classes"),),
    ),
}

PUBLIC_PACKAGES = tuple(
    dict.fromkeys(
        ["sknoisy", *(section.package for page in PAGES.values() for section in page.sections)]
    )
)

INDEX = """\
.. _api:

=============
API reference
=============

.. automodule:: sknoisy
   :no-members:

What is listed here is public: import it from the package under whose heading it stands. Modules
inside these packages, and packages that are not listed, may change without notice.

{entries}
.. toctree::
   :hidden:

{stems}
"""

SECTION = """
{title}
{underline}
{docstring}
.. currentmodule:: {package}

*Import from* :mod:`{package}`.
{summaries}"""

DOCSTRING = """
.. automodule:: {package}
   :no-members:
"""

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


def _has_page(package, name):
    """Whether a name has a page under this package: it is ours, and not from sknoisy itself."""
    value = getattr(importlib.import_module(package), name)
    is_ours = getattr(value, "__module__", "sknoisy").split(".")[0] == "sknoisy"
    root = importlib.import_module("sknoisy")
    return is_ours and (package == "sknoisy" or name not in root.__all__)


def _summaries(package, names):
    """One summary of the names with pages under this package, and one of the other names."""
    with_page = [name for name in names if _has_page(package, name)]
    without = [name for name in names if name not in with_page]
    options = "   :nosignatures:"
    return "".join(
        SUMMARY.format(options=toctree + options, names="\n".join(f"   {name}" for name in part))
        for toctree, part in (("   :toctree: reference\n", with_page), ("", without))
        if part
    )


def _section(section, exported):
    """Return one section as reStructuredText; a whole package shows its docstring."""
    names = exported[section.package] if section.names is None else section.names
    return SECTION.format(
        title=section.title,
        underline="-" * len(section.title),
        docstring=DOCSTRING.format(package=section.package) if section.names is None else "",
        package=section.package,
        summaries=_summaries(section.package, names),
    )


def api_pages():
    """Return ``{name of the file: reStructuredText}``, the index first."""
    exported = public_names()
    entries = "".join(
        f":doc:`{page.title} <api_{stem}>`\n    {page.about}\n\n" for stem, page in PAGES.items()
    )
    stems = "\n".join(f"   api_{stem}" for stem in PAGES)
    pages = {"api": INDEX.format(entries=entries, stems=stems)}
    for stem, page in PAGES.items():
        rule = "=" * len(page.title)
        sections = "".join(
            _section(section, exported) for section in page.sections if section.package in exported
        )
        pages[f"api_{stem}"] = f"{rule}\n{page.title}\n{rule}\n\n{page.about}\n{sections}"
    return pages


def _write_pages(app, config):
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    for stem, text in api_pages().items():
        (folder / f"{stem}.rst").write_text(text, encoding="utf-8")


def setup(app):
    """Write the pages before Sphinx looks for sources."""
    app.connect("config-inited", _write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
