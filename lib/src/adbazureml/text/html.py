"""Tables as a notebook shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


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
    return f"<table>{head}{body}</table>"


def _cell(text: str) -> str:
    lines = text.splitlines()
    return "<br>".join(link(line) if line.startswith(("https://", "http://")) else escape(line) for line in lines)
