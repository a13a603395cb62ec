"""gallery.py: what the page shows, that it refers to nothing outside, and hostile names."""

import base64
import io
import re

import numpy as np
from PIL import Image

from common import gallery
from common.gallery import Row, write_gallery

TABLE = {"trained generator": {"l1": 0.125, "psnr": 12.5}, "mean <colour>": {"l1": 0.25}}


def row(name, l1, colour=(255, 0, 0)):
    picture = np.full((16, 24, len(colour)), colour, np.uint8)
    return Row(name, [("input", picture), ("target", 255 - picture)], {"l1": l1, "psnr": 10.0})


def written(path, rows, total=None, title="A title"):
    shown = write_gallery(path, title, TABLE, rows, len(rows) if total is None else total)
    return shown, path.read_text(encoding="utf-8")


def pictures(page):
    """The page's pictures, decoded."""
    found = re.findall(r'src="data:image/(jpeg|png);base64,([^"]+)"', page)
    return [(kind, np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))) for kind, data in found]


def test_pictures_and_metrics_are_on_the_page(tmp_path):
    shown, page = written(
        tmp_path / "g.html", [row("a.jpg", 0.5), row("b.jpg", 0.25, (100,)), row("c.png", 1.0, (9,) * 4)]
    )
    assert shown == 3
    found = pictures(page)
    assert [kind for kind, _ in found] == ["jpeg"] * 4 + ["png"] * 2
    assert np.abs(found[0][1] - np.array([255.0, 0, 0])).max() < 4 and found[2][1].shape == (16, 24)
    assert (found[4][1] == 9).all() and (found[5][1] == 246).all()
    assert "<b>a.jpg</b> &middot; l1 0.5 &middot; psnr 10" in page
    assert "<tr><th>trained generator</th><td>0.125</td><td>12.5</td></tr>" in page
    assert "<tr><th>mean &lt;colour&gt;</th><td>0.25</td><td></td></tr>" in page
    assert "The first" not in page


def test_rows_are_ordered_by_the_style_sheet_alone(tmp_path):
    _, page = written(tmp_path / "g.html", [row("a", 0.5), row("b", 0.25), row("c", 1.0)])
    orders = re.findall(r"--given:(\d+);--best:(\d+);--worst:(-?\d+)", page)
    assert orders == [("0", "1", "-1"), ("1", "0", "0"), ("2", "2", "-2")]
    write_gallery(tmp_path / "g.html", "t", TABLE, [row("a", 0.5), row("b", 0.25)], 2, largest_first=True)
    assert re.findall(r"--best:(\d+)", (tmp_path / "g.html").read_text()) == ["0", "1"]
    for choice in ("best", "worst"):
        assert f'id="{choice}"' in page and f"#{choice}:checked ~ .rows .row {{ order: var(--{choice}); }}" in page


def test_nothing_from_outside_and_no_script_even_by_hostile_names(tmp_path):
    hostile = "<script>alert(1)</script><img src=http://example.com/x.png onerror='y'>\"&\udcff.png"
    _, page = written(tmp_path / "g.html", [row(hostile, 0.5)], title=hostile)
    assert "<script" not in page and "<img src=http" not in page and page.count("&lt;script&gt;") == 3
    assert set(re.findall(r'(?:src|href|url)\s*[=(]\s*"?([a-z]+:)', page.split("</head>")[1])) <= {"data:", "http:"}
    outside = re.sub(r"&lt;.*?&gt;", "", page)  # what is left of the names, once they are text
    assert "http" not in outside


def test_a_full_page_says_so_and_reads_no_further(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "MAX_BYTES", 3000)
    read = []

    def rows():
        for number in range(50):
            read.append(number)
            yield row(str(number), number / 50)

    shown = write_gallery(tmp_path / "g.html", "t", TABLE, rows(), 50)
    page = (tmp_path / "g.html").read_text()
    assert 0 < shown < 10 and len(read) == shown + 1 and len(pictures(page)) == 2 * shown
    assert f"The first {shown} of 50 samples" in page
