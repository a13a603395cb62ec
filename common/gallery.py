"""A gallery: one HTML file with pictures side by side and their metrics, for a person to look at (without TensorFlow).

The file refers to nothing outside itself and holds no script, so that it can be mailed and opened anywhere. It knows
nothing of the model: the caller names the columns.
"""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

import numpy as np
from PIL import Image

MAX_BYTES = 30_000_000  # of pictures in the file: what a mail or a phone still takes
QUALITY = 90  # of JPEG

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.4 system-ui, sans-serif; margin: 1rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #8886; padding: .2rem .8rem .2rem 0; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; }
.rows { display: flex; flex-direction: column; margin-top: 1rem; }
.row { border-top: 1px solid #8886; order: var(--given); padding: .6rem 0; }
#best:checked ~ .rows .row { order: var(--best); }
#worst:checked ~ .rows .row { order: var(--worst); }
.row p { margin: 0 0 .4rem; overflow-wrap: anywhere; }
.pictures { display: flex; gap: .5rem; }
figure { flex: 1 1 0; margin: 0; max-width: 24rem; min-width: 0; }
img { display: block; height: auto; width: 100%; }
figcaption { font-size: .8rem; }
"""


@dataclass(frozen=True)
class Row:
    """What the gallery shows of one sample."""

    name: str
    columns: Sequence[tuple[str, np.ndarray]]  # a heading, and a uint8 picture [h, w, 1, 3 or 4]
    metrics: dict[str, float]


def write_gallery(
    path: Union[str, Path],
    title: str,
    metrics: dict[str, dict[str, float]],
    rows: Iterable[Row],
    total: int,
    order_by: str = "l1",
    largest_first: bool = False,
) -> int:
    """Writes a gallery.

    Args:
        path: the HTML file.
        title: the first line of the page; any text.
        metrics: the table on top: {"trained generator": {"l1": 0.2, ...}, "a baseline": ...}.
        rows: the samples, read one by one until the page is full, so they may be made on demand.
        total: how many there are.
        order_by: the metric of a row that tells the best (the smallest) from the worst.
        largest_first: the largest is the best.
    Returns: how many rows the page holds.
    """
    shown, size, full = [], 0, False
    for row in rows:
        figures = [_figure(heading, picture) for heading, picture in row.columns]
        size += sum(map(len, figures))
        full = size > MAX_BYTES
        if full:
            break
        shown.append((row, figures))
    sign = -1 if largest_first else 1
    ranks = np.argsort(np.argsort([sign * row.metrics[order_by] for row, _ in shown], kind="stable"))
    note = f"<p>The first {len(shown)} of {total} samples: more would make this page too large.</p>"
    page = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{html.escape(title)}</h1>",
        *_table(metrics),
        *([note] if full else []),
        *_choices(order_by),
        '<div class="rows">',
    ]
    for number, ((row, figures), rank) in enumerate(zip(shown, ranks)):
        order = f"--given:{number};--best:{rank};--worst:{-rank}"
        values = " &middot; ".join(f"{html.escape(name)} {_number(value)}" for name, value in row.metrics.items())
        page.append(f'<div class="row" style="{order}"><p><b>{html.escape(row.name)}</b> &middot; {values}</p>')
        page += ['<div class="pictures">', *figures, "</div></div>"]
    page.append("</div></body></html>\n")
    # A file's name may hold bytes that are no text; they become question marks.
    Path(path).write_bytes("\n".join(page).encode("utf-8", "replace"))
    return len(shown)


def _figure(heading: str, picture: np.ndarray) -> str:
    """A picture as a JPEG within the page, or as a PNG where it has an alpha channel."""
    channels = picture.shape[-1]
    image = Image.fromarray(picture[..., 0] if channels == 1 else np.ascontiguousarray(picture))
    kind, buffer = "png" if channels == 4 else "jpeg", io.BytesIO()
    image.save(buffer, kind, quality=QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode()
    heading = html.escape(heading)
    source = (
        f'<img alt="{heading}" width="{image.width}" height="{image.height}" src="data:image/{kind};base64,{data}">'
    )
    return f"<figure>{source}<figcaption>{heading}</figcaption></figure>"


def _table(metrics: dict[str, dict[str, float]]) -> list[str]:
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    header = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    lines = ["<table>", f"<tr><th></th>{header}</tr>"]
    for method, values in metrics.items():
        cells = "".join(f"<td>{_number(values[name]) if name in values else ''}</td>" for name in names)
        lines.append(f"<tr><th>{html.escape(method)}</th>{cells}</tr>")
    return [*lines, "</table>"]


def _choices(order_by: str) -> list[str]:
    """Radio buttons that reorder the rows by the style sheet alone."""
    choices = {"given": "by name", "best": "best first", "worst": "worst first"}
    buttons = [
        f'<input type="radio" name="order" id="{name}"{" checked" if name == "given" else ""}>'
        f'<label for="{name}"> {text}</label> '
        for name, text in choices.items()
    ]
    return [*buttons, f"(by {html.escape(order_by)})"]


def _number(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
