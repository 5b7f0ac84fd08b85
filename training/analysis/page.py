"""The HTML page: one file that needs no network, with its plots inside."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin-top: 1.5rem; }
p.conclusion { background: #eef4fa; border-left: 4px solid #2166ac; padding: .6rem 1rem; }
p.note { color: #555; font-size: .9rem; }
table { border-collapse: collapse; font-size: .85rem; margin: .8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { border-bottom: 2px solid #999; } td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; } .row { display: flex; } .row img { max-width: 50%; align-self: center; }
.wide { overflow-x: auto; } summary { cursor: pointer; color: #2166ac; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page around `parts`, which are HTML."""
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def heading(text: str, level: int = 2) -> str:
    """A heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def conclusion(text: str) -> str:
    """The paragraph that a hasty reader reads."""
    return f'<p class="conclusion">{escape(text)}</p>'


def note(text: str) -> str:
    """Small print: how something was measured."""
    return f'<p class="note">{escape(text)}</p>'


def image(png: bytes, description: str) -> str:
    """A plot inside the page, with what it shows for those who cannot see it."""
    return f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}" alt="{escape(description)}">'


def row(*images: str) -> str:
    """Images beside each other."""
    return f'<div class="row">{"".join(images)}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; floats with three digits after the point, None as a dash."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "\n".join(f"<tr>{''.join(f'<td>{escape(_cell(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'


def details(summary: str, content: str) -> str:
    """HTML `content` that opens at a click."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
