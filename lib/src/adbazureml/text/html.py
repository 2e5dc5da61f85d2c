"""Tables as a notebook shows them, and pages that need no other file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

# Readable on a phone, and in a browser that is set to dark; the pictures are dark on white in both.
_STYLE = """
:root{color-scheme:light dark;--line:#8886;--good:#0072b2;--look:#b34700;--none:#767676}
@media (prefers-color-scheme:dark){:root{--good:#56b4e9;--look:#f0a000;--none:#9a9a9a}}
body{font:15px/1.5 system-ui,sans-serif;margin:1.5rem auto;max-width:72rem;padding:0 1rem;overflow-wrap:anywhere}
h1{margin:0}h2{margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}h3{margin:1.5rem 0 .25rem}
img{display:block;max-width:100%;margin:1rem 0;border-radius:6px}
table{border-collapse:collapse}caption{text-align:left;font-style:italic}
th,td{padding:.25rem .75rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
.wide{overflow-x:auto;overflow-wrap:normal}.figures th,.figures td{text-align:right}
.figures th:first-child,.figures td:first-child{text-align:left}
.boxes{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:1rem;list-style:none;padding:0}
.boxes li{border:1px solid var(--line);border-left:6px solid var(--none);border-radius:6px;padding:.5rem 1rem}
.boxes p{margin:.25rem 0}.boxes a{font-weight:bold}.boxes em{color:var(--none)}
.boxes .good{border-left-color:var(--good)}.boxes .good em{color:var(--good)}
.boxes .look{border-left-color:var(--look)}.boxes .look em{color:var(--look)}
"""
# How a table of text begins: Jupyter sets all cells to the right.
TEXT_TABLE = '<style scoped>table.adbazureml td,table.adbazureml th{text-align:left}</style><table class="adbazureml">'


def html_page(title: str, body: str) -> str:
    """Return a whole HTML page.

    Parameters
    ----------
    title : str
        Plain text.
    body : str
        HTML.
    """
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )


def is_address(text: str) -> bool:
    """Whether a text is a web address, which a browser may follow."""
    return text.startswith(("https://", "http://"))


def link(address: str, text: str = "") -> str:
    """Return an address as HTML that a browser follows, by a text of its own or else by itself."""
    return f'<a href="{escape(address)}">{escape(text or address)}</a>'


def html_table(rows: Iterable[Sequence[str]], *, titles: Sequence[str] = ()) -> str:
    """Return rows of plain text as an HTML table.

    Parameters
    ----------
    rows : iterable of sequence of str
        The cells of each row. A web address becomes a link, each line of a cell a line of its own.
    titles : sequence of str
        Headings of the columns; empty: none.
    """
    head = f"<tr>{''.join(f'<th>{escape(title)}</th>' for title in titles)}</tr>" if titles else ""
    body = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"{TEXT_TABLE}{head}{body}</table>"


def _cell(text: str) -> str:
    lines = text.splitlines()
    return "<br>".join(link(line) if is_address(line) else escape(line) for line in lines)
