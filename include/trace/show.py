"""Sections as text for a terminal, or as a page."""

from collections.abc import Sequence
from html import escape

from include.trace.chain import Chain
from include.trace.sections import Section, sections

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Trace</title><style>
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2em; }} table {{ border-collapse: collapse; }}
td, th {{ border: 1px solid #ccc; padding: 2px 8px; text-align: left; vertical-align: top; }}
.differs {{ background: #fdd; }}</style></head><body>
{body}
</body></html>
"""


def as_text(chain: Chain) -> str:
    """Titles, lines and tables with aligned columns."""
    return "\n".join(_text_of(section) for section in sections(chain))


def as_page(chain: Chain) -> str:
    """The same as one HTML page without anything from outside."""
    return _PAGE.format(body="\n".join(_page_of(section) for section in sections(chain)))


def _text_of(section: Section) -> str:
    table = [section.header, *section.rows] if section.rows else []
    widths = [max(len(row[place]) for row in table) for place in range(len(section.header))] if table else []
    lines = [f"  {line}" for line in section.lines]
    lines += [
        f"  {'  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()}"
        for row in table
    ]
    return "\n".join([section.title, *lines, ""])


def _page_of(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>", *(f"<p>{escape(line)}</p>" for line in section.lines)]
    if section.rows:
        parts.append(f"<table>{_cells(section.header, 'th')}{''.join(map(_row, section.rows))}</table>")
    return "\n".join(parts)


def _row(row: Sequence[str]) -> str:
    return _cells(row, "td", "differs" if "DIFFERENT" in row else "")


def _cells(row: Sequence[str], tag: str, mark: str = "") -> str:
    cells = "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
    return f'<tr class="{mark}">{cells}</tr>' if mark else f"<tr>{cells}</tr>"
