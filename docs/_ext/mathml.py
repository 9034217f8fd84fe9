"""Formulas as MathML: pages show them without a script from the network.

docutils translates a large part of LaTeX. What it cannot translate is reported as a warning that
names the formula, which fails a build with ``-W``; write it with simpler commands then.
"""

import re

from docutils import nodes
from docutils.utils.math import MathError, unichar2tex
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)

# docutils sets the index of an accented letter under the letter, as if it were a limit.
_ACCENT_WITH_INDEX = re.compile(
    r"<munderover>\s*(<mi>.</mi>)\s*((?:(?!<munderover>).)*?)\s*"
    r'(<mo stretchy="false">[^<]</mo>)\s*</munderover>',
    re.DOTALL,
)

# Of delimiters of a given size docutils knows those with a side alone: \Bigl, but not \Big.
_BIG_WITHOUT_SIDE = re.compile(r"\\[bB]igg?(?![A-Za-z])")


def _render(translator, node, as_block):
    """Return the MathML of `node`, or its escaped source after a warning."""
    source = _BIG_WITHOUT_SIDE.sub(r"\g<0>l", node.astext())
    try:
        mathml = tex2mathml(source.translate(unichar2tex.uni2tex_table), as_block=as_block)
        return _ACCENT_WITH_INDEX.sub(r'<msub><mover accent="true">\1\3</mover>\2</msub>', mathml)
    except MathError as error:
        logger.warning("no MathML for %r: %s", source, error, location=node)
        return f"<code>{translator.encode(source)}</code>"


def visit_inline(translator, node):
    """Write an inline formula."""
    translator.body.append(_render(translator, node, as_block=False))
    raise nodes.SkipNode


def visit_block(translator, node):
    """Write a displayed formula with its number and permalink, if it has a label."""
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    if node["number"]:
        number = get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append(_render(translator, node, as_block=True) + "</div>\n")
    raise nodes.SkipNode


def setup(app):
    """Register the renderer; ``html_math_renderer = "mathml"`` selects it."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
