#!/usr/bin/env python3
"""Draws a terminal as SVG: `render.py TEXT SVG`. Only the standard library.

TEXT is what the terminal shows. Lines that start with `$ ` are commands; the marks of `taut why` are coloured. How why.txt is made,
with the bookstore of `taut demo` running, from the root of the repository:

    show() { printf '$ %s\\n' "$*"; }
    run() { show "$@"; eval "$*"; }
    M=testdata/manifests/istio-bookinfo/networking
    taut apply -f $M/destination-rule-all.yaml
    { cd $M; run kubectl apply -f virtual-service-reviews-test-v2.yaml; run taut wait --for=live virtualservice/reviews; echo
      run "taut why --from productpage --to reviews --request 'GET /reviews/1' -H 'end-user: jason'"; } > why.txt
"""

import re
import sys
from xml.sax.saxutils import escape

COLUMNS = 116
CELL = 8.0
LINE = 19.0
SIZE = 13.3
MARGIN = 22.0
BAR = 34.0

# The panel brings its own background, so that it reads the same on a light and on a dark page.
PANEL, FRAME = "#10161d", "#3a4653"
PLAIN, QUIET, ORIGIN = "#d5dde5", "#8493a3", "#7fb4e8"
MARKS = {"✓": "#6fcf8f", "→": "#f2c14e", "✗": "#f08a7e", "⊘": "#f08a7e", "=": "#ffffff", "·": "#8493a3", "$": "#6fcf8f"}
# What `taut why` names behind a step.
NAMED = re.compile(r"^(built-in default: |[A-Z][A-Za-z]+ [a-z0-9.-]+/[a-z0-9.-]+@\d)")


def wrapped(line):
    """Pieces of at most COLUMNS cells, broken at spaces where there are any; later ones are indented."""
    while len(line) > COLUMNS:
        at = line.rfind("  ", 20, COLUMNS)
        at = at if at > 0 else line.rfind(" ", 20, COLUMNS)
        at = at if at > 0 else COLUMNS
        yield line[:at].rstrip()
        line = " " * 15 + line[at:].lstrip()
    yield line


def colour(line, text, column):
    if line.startswith("$ "):
        return MARKS["$"] if column == 0 else "#ffffff"
    if column == 0 and text[:1] in MARKS:
        return MARKS[text[0]]
    if line.startswith("= "):
        return "#ffffff"
    return ORIGIN if NAMED.match(text) else PLAIN


def spans(line):
    """(column, text) of what stands between runs of spaces; a mark stands for itself."""
    start = 0
    if line[:1] in MARKS and line[1:2] == " ":
        yield 0, line[0]
        start = 2
    for found in re.finditer(r"\S+(?: \S+)*", line[start:]):
        yield start + found.start(), found.group()


def drawn(lines):
    top = BAR + MARGIN
    for number, line in enumerate(lines):
        y = top + number * LINE
        for column, text in spans(line):
            x, width = MARGIN + column * CELL, len(text) * CELL
            fill = colour(line, text, column)
            yield (
                f'<text x="{x:g}" y="{y:g}" fill="{fill}" textLength="{width:g}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
            )


def svg(text):
    whole = text.rstrip().splitlines()
    lines = [piece for line in whole for piece in wrapped(line)]
    width = 2 * MARGIN + COLUMNS * CELL
    height = BAR + 2 * MARGIN + (len(lines) - 1) * LINE
    dots = "".join(f'<circle cx="{MARGIN + 18 * n:g}" cy="{BAR / 2:g}" r="5.5" fill="{FRAME}"/>' for n in range(3))
    title = next((line[2:] for line in reversed(whole) if line.startswith("$ ")), "terminal")
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" aria-labelledby="title">',
        f'<title id="title">{escape(title)}</title>',
        f'<rect x="0.5" y="0.5" width="{width - 1:g}" height="{height - 1:g}" rx="9" fill="{PANEL}" stroke="{FRAME}"/>',
        dots,
        f'<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="{SIZE}" xml:space="preserve">',
        *drawn(lines),
        "</g>",
        "</svg>",
        "",
    ])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: render.py TEXT SVG")
    with open(sys.argv[1], encoding="utf-8") as read:
        picture = svg(read.read())
    with open(sys.argv[2], "w", encoding="utf-8") as write:
        write.write(picture)
