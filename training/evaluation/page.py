"""The HTML of a report: one file that needs no network. Text is escaped here, so callers give plain words."""

import base64
from collections.abc import Container, Mapping, Sequence
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
.note { border-left: 4px solid #d29922; background: #fff8e5; padding: .5rem .8rem; }
dt { font-weight: 600; margin-top: .8rem; } dd { margin-left: 0; }
@media print { h2 { break-before: page; } figure, table { break-inside: avoid; } }
"""


def page(title: str, body: Sequence[str]) -> str:
    """A whole document around `body`, which is HTML already."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def heading(level: int, text: str) -> str:
    """<h2> to <h6>."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str) -> str:
    """<p>."""
    return f"<p>{escape(text)}</p>"


def note(text: str) -> str:
    """A paragraph that must not be overlooked."""
    return f'<p class="note">{escape(text)}</p>'


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    baselines: Container[int] = (),
    wrap: bool = False,
) -> str:
    """A table whose first column names the row; the rows `baselines` are what others are held against.

    Cells stay on one line unless they may `wrap`.
    """
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    lines = []
    for number, (name, *cells) in enumerate(rows):
        kind = ' class="baseline"' if number in baselines else ""
        inside = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr{kind}><th scope="row">{escape(name)}</th>{inside}</tr>')
    kind = ' class="wrap"' if wrap else ""
    return (
        f'<div class="scroll"><table{kind}><caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>"
    )


def definitions(terms: Mapping[str, str]) -> str:
    """Terms and what they mean."""
    inside = "\n".join(f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>" for term, meaning in terms.items())
    return f"<dl>\n{inside}\n</dl>"


def picture(png: bytes, title: str, caption: str) -> str:
    """A PNG inside the page; `title` is for those who cannot see it."""
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(title)}">\n'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
