"""app.py: what its functions give, and that a page is built, with the example's result or with a message."""

import app
import numpy as np
import predict
import pytest
from PIL import Image

from common.cli import UserError


def test_a_word_is_replaced(tmp_path, editor):
    example, (_, box, new) = app.write_example(str(tmp_path)), app.EXAMPLE
    place = ",".join(map(str, box))
    result, file, told = app.edit(editor, str(tmp_path), example, place, new)
    before = np.asarray(Image.open(example))
    assert result.size == before.shape[1::-1] and (np.asarray(Image.open(file)) == np.asarray(result)).all()
    changed = np.argwhere((np.asarray(result) != before).any(2))[:, ::-1]
    assert (changed.min(0) >= box[:2]).all() and (changed.max(0) < box[2:]).all() and told.endswith(" s")
    assert (np.asarray(app.preview(example, place)) != before).any()


def test_mistakes(tmp_path):
    example = app.write_example(str(tmp_path))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no image")
    for path, place, word, told in (
        (None, "1,2,3,4", "Hi", "choose a photograph first"),
        (str(tmp_path / "broken.png"), "1,2,3,4", "Hi", "is no image that can be decoded"),
        (example, " ", "Hi", "click two opposite corners"),
        (example, "0,0,9999,9", "Hi", "reaches outside"),
        (example, "1,2,30,40", "", "the text is empty"),
    ):
        with pytest.raises(UserError, match=told):
            app.edit(None, str(tmp_path), path, place, word)


def test_the_page(tmp_path, editor, monkeypatch):
    gradio = pytest.importorskip("gradio")
    load = predict.load_editor
    monkeypatch.setattr(predict, "load_editor", lambda path, device: editor if path == "a run" else load(path, device))
    with gradio.Blocks() as page, gradio.Tab("SRNet"):
        app.build("a run")
    shown = [block for block in page.blocks.values() if "result" in (getattr(block, "elem_classes", None) or [])]
    assert len(shown) == 1 and shown[0].value is not None and page.fns
    with gradio.Blocks() as page:
        app.build(str(tmp_path))
    told = [block.value for block in page.blocks.values() if isinstance(block, gradio.Markdown)]
    assert len(told) == 1 and told[0].startswith("SRNet cannot be shown: no weights in")
