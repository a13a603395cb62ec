"""app.py: what its functions give, and that a page is built, with the example's result or with a message."""

import app
import numpy as np
import pytest
from conftest import write_run
from PIL import Image

from common.cli import UserError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("tiny") / "run", data_shape=[16, 32]).folder


def test_a_word_is_replaced(tmp_path, run):
    editor, trained_on = app.load(str(run))
    example, (_, box, new) = app.write_example(str(tmp_path)), app.EXAMPLE
    place = ",".join(map(str, box))
    result, file, told = app.edit(editor, str(tmp_path), example, place, new)
    before = np.asarray(Image.open(example))
    assert result.size == before.shape[1::-1] and (np.asarray(Image.open(file)) == np.asarray(result)).all()
    changed = np.argwhere((np.asarray(result) != before).any(2))[:, ::-1]
    assert (changed.min(0) >= box[:2]).all() and (changed.max(0) < box[2:]).all() and told.endswith(" s")
    assert "7 steps" in trained_on and (np.asarray(app.preview(example, place)) != before).any()


def test_mistakes(tmp_path, run):
    example, editor = app.write_example(str(tmp_path)), None
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no image")
    for path, place, word, told in (
        (None, "1,2,3,4", "Hi", "choose a photograph first"),
        (str(tmp_path / "broken.png"), "1,2,3,4", "Hi", "is no image that can be decoded"),
        (example, " ", "Hi", "click two opposite corners"),
        (example, "1,2,3", "Hi", "is not 4 numbers"),
        (example, "0,0,9999,9", "Hi", "reaches outside"),
        (example, "1,2,30,40", "", "the text is empty"),
        (example, "1,2,30,40", "🦄", "U+1F984"),
    ):
        with pytest.raises(UserError, match=told.replace("+", "[+]")):
            app.edit(editor, str(tmp_path), path, place, word)
    with pytest.raises(UserError, match="no weights in"):
        app.load(str(tmp_path))


def test_the_page(tmp_path, run):
    gradio = pytest.importorskip("gradio")
    with gradio.Blocks() as page, gradio.Tab("SRNet"):
        app.build(str(run))
    shown = [block for block in page.blocks.values() if "result" in (getattr(block, "elem_classes", None) or [])]
    assert len(shown) == 1 and shown[0].value is not None and page.fns
    with gradio.Blocks() as page:
        app.build(str(tmp_path))
    told = [block.value for block in page.blocks.values() if isinstance(block, gradio.Markdown)]
    assert len(told) == 1 and told[0].startswith("SRNet cannot be shown: no weights in")
