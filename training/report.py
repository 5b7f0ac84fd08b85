"""The HTML elements of every report, which is one file and needs no network. Text is escaped here, not by callers."""

import base64
from collections.abc import Container, Iterable, Mapping, Sequence
from html import escape

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2328; background: #fff; max-width: 1160px; margin: 2rem auto;
  padding: 0 1rem; }
h1 { margin-bottom: .2rem; } h2 { margin-top: 3rem; border-bottom: 2px solid #d5d9de; padding-bottom: .3rem; }
h3 { margin-top: 2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #57606a; padding-bottom: .3rem; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #e3e5e8; text-align: left; vertical-align: top;
  white-space: nowrap; }
.wrap th, .wrap td { white-space: normal; }
th { font-weight: 600; } tbody th { font-weight: 500; }
tr.baseline th, tr.baseline td { color: #57606a; font-style: italic; }
figure { margin: 1.5rem 0; } img { max-width: 100%; height: auto; } figcaption { color: #57606a; font-size: .92rem; }
.conclusion { border-left: 4px solid #2166ac; background: #eef4fa; padding: .5rem .8rem; }
.note { border-left: 4px solid #d29922; background: #fff8e5; padding: .5rem .8rem; }
.small { color: #57606a; font-size: .92rem; } summary { cursor: pointer; color: #2166ac; }
.row { display: flex; } .row figure { max-width: 50%; align-self: center; margin: .5rem 0; }
dt { font-weight: 600; margin-top: .8rem; } dd { margin-left: 0; }
@media print { h2 { break-before: page; } figure, table { break-inside: avoid; } }
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole document around `body`, which is HTML."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def heading(text: str, level: int = 2) -> str:
    """<h2> to <h6>."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str) -> str:
    """<p>."""
    return f"<p>{escape(text)}</p>"


def conclusion(text: str) -> str:
    """The highlighted paragraph at the start of a section."""
    return f'<p class="conclusion">{escape(text)}</p>'


def small(text: str) -> str:
    """Small print, on how something was measured."""
    return f'<p class="small">{escape(text)}</p>'


def note(text: str) -> str:
    """A highlighted warning."""
    return f'<p class="note">{escape(text)}</p>'


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    baselines: Container[int] = (),
    wrap: bool = False,
) -> str:
    """A table whose first column names the row; the rows `baselines` are set off, for comparison.

    Floats have three digits after the point, and None is a dash. Cells stay on one line unless they may `wrap`.
    """
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    lines = []
    for number, (name, *cells) in enumerate(rows):
        kind = ' class="baseline"' if number in baselines else ""
        inside = "".join(f"<td>{escape(_cell(cell))}</td>" for cell in cells)
        lines.append(f'<tr{kind}><th scope="row">{escape(_cell(name))}</th>{inside}</tr>')
    kind = ' class="wrap"' if wrap else ""
    named = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table{kind}>{named}\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>"
    )


def definitions(terms: Mapping[str, str]) -> str:
    """Terms with their definitions."""
    inside = "\n".join(f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>" for term, meaning in terms.items())
    return f"<dl>\n{inside}\n</dl>"


def details(summary: str, content: str) -> str:
    """HTML `content` that opens with a click."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def row(*pictures: str) -> str:
    """Pictures side by side."""
    return f'<div class="row">{"".join(pictures)}</div>'


def picture(png: bytes, title: str, caption: str = "") -> str:
    """A PNG inside the page; `title` is the text for readers who cannot see it."""
    data = base64.b64encode(png).decode("ascii")
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="data:image/png;base64,{data}" alt="{escape(title)}">\n{below}</figure>'


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
