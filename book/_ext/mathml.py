"""Formulas as MathML, converted by docutils, so that the book needs no script and no network to show them."""

from xml.etree import ElementTree

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.errors import ExtensionError
from sphinx.util.math import get_node_equation_number

MATHML = "http://www.w3.org/1998/Math/MathML"
REWRITES = {r"\dots": r"\ldots", r"\tfrac": r"\frac", r"\dfrac": r"\frac"}


def to_mathml(tex: str, block: bool) -> str:
    """Return `tex` (LaTeX, without dollars) as a MathML element.

    Raises ExtensionError naming the formula when docutils does not know a command in it.
    """
    for old, new in REWRITES.items():
        tex = tex.replace(old, new)
    if block and r"\\" in tex and r"\begin" not in tex:
        tex = rf"\begin{{align}}{tex}\end{{align}}"
    try:
        return tidy(tex2mathml(tex, as_block=block))
    except Exception as error:
        raise ExtensionError(f"formula {tex!r} cannot be written as MathML: {error}") from error


def tidy(mathml: str) -> str:
    """Return MathML as a browser draws it well: docutils puts the subscript of an accented letter below the
    letter instead of beside it, in two ways, and writes a line over an expression as one short stroke.
    """
    ElementTree.register_namespace("", MATHML)
    tree = ElementTree.fromstring(mathml.replace("&ApplyFunction;", "\u2061"))
    for below in tree.iter(f"{{{MATHML}}}munder"):
        if below[0].tag == f"{{{MATHML}}}mover":
            below.tag = f"{{{MATHML}}}msub"
    for both in tree.iter(f"{{{MATHML}}}munderover"):
        if both[0].tag != f"{{{MATHML}}}mo":  # a letter, not a sum
            letter, sub, accent = both
            accented = ElementTree.Element(f"{{{MATHML}}}mover", accent="true")
            accented.extend([letter, accent])
            both.clear()
            both.tag = f"{{{MATHML}}}msub"
            both.extend([accented, sub])
    for over in tree.iter(f"{{{MATHML}}}mover"):
        if over[1].text == "_":
            over.remove(over[1])
            over.tag = f"{{{MATHML}}}mrow"
            over.set("style", "border-top: 0.07em solid; padding-top: 0.12em")
    return ElementTree.tostring(tree, encoding="unicode")


def visit_math(self, node):
    """Write an inline formula."""
    self.body.append(f'<span class="math notranslate nohighlight">{to_mathml(node.astext(), False)}</span>')
    raise SkipNode


def visit_displaymath(self, node):
    """Write a displayed formula and, where it has a label, its number and permalink."""
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    self.body.append(to_mathml(node.astext(), True))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise SkipNode


def setup(app):
    """Register the renderer under the name "mathml"."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
