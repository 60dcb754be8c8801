"""Text and tables in Markdown and reST."""

from collections.abc import Iterable, Sequence
from typing import Literal

__all__ = ["Markup", "code", "escape", "heading", "markup_table"]

Markup = Literal["md", "rst"]


def escape(text: object, markup: Markup) -> str:
    """Plain text for Markdown or reST, in one line."""
    special = "\\`*_|" + ("<>&[]~" if markup == "md" else "")
    return "".join(f"\\{letter}" if letter in special else letter for letter in " ".join(str(text).split()))


def heading(text: str, level: int, markup: Markup) -> str:
    """A heading of level 0 or 1, of plain text."""
    text = escape(text, markup)
    return f"{'#' * (level + 1)} {text}\n" if markup == "md" else f"{text}\n{'=-'[level] * len(text)}\n"


def code(text: str, markup: Markup) -> str:
    """Text as code, in one line."""
    text = " ".join(text.split())
    if markup == "rst":
        return f"``{text}``" if "`" not in text and text else escape(text, markup)
    if "`" not in text:
        return f"`{text}`"
    ticks = (len(run) for run in text.replace("`", " `").split() if set(run) == {"`"})
    fence = "`" * (max(ticks, default=text.count("`")) + 1)
    return f"{fence} {text} {fence}"


def markup_table(header: Sequence[object], body: Iterable[Sequence[object]], markup: Markup) -> str:
    """A table in Markdown ('md') or reST ('rst') of texts that are escaped already.

    Raises
    ------
    ValueError
        For another markup.
    """
    if markup not in ("md", "rst"):
        raise ValueError(f"markup={markup!r} is not known; choose 'md' or 'rst'")
    rows = [[str(cell) for cell in row] for row in (header, *body)]
    if markup == "md":
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]]) + "\n"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule]) + "\n"
