"""Write the table of methods from ``sknoisy.methods.registry``, for pages to include.

Needs no Sphinx: the test suite imports it to compare the table with the registry.
"""

from pathlib import Path

from sknoisy.methods.registry import METHODS

HEADER = """\
.. list-table::
   :header-rows: 1
   :widths: 20 30 38 12

   * - method
     - class
     - idea
     - paper
"""

ROW = """\
   * - :ref:`{title} <{key}>`
     - :class:`~sknoisy.{estimator}`
     - {idea}
     - {paper}
"""


def methods_table():
    """Return the table as reStructuredText, one row per method."""
    rows = [ROW.format(key=key, **method._asdict()) for key, method in METHODS.items()]
    return HEADER + "".join(rows)


def _write_table(app, config):
    target = Path(app.srcdir) / "generated" / "methods_table.inc"
    target.parent.mkdir(exist_ok=True)
    target.write_text(methods_table(), encoding="utf-8")


def setup(app):
    """Write the table before Sphinx reads sources."""
    app.connect("config-inited", _write_table)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
