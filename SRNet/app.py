"""SRNet in the browser: a photograph, a word in it that is clicked or found, and another word in its place.

python SRNet/app.py                              with the weights in SRNet/pretrained/
python SRNet/app.py --ckpt_path=RUN --port=7861

Needs gradio (current stack only). The page is served to this machine alone and takes nothing from any other.
"""

import argparse
import functools
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import fonts
import ocr
import predict
import skimage.data
from PIL import Image, ImageDraw

from common import cli, page
from common.cli import UserError
from common.config import SessionConfig
from common.images import on_white
from common.session import open_session

EXAMPLE = ("OPEN", (220, 62, 340, 110), "SALE")  # a sign, its place in a photograph, and the new word


def write_example(folder: str) -> str:
    """A photograph that scikit-image installs, with a sign on it."""
    word, (left, top, right, bottom), _ = EXAMPLE
    path = Path(folder) / "sign.png"
    with Image.open(Path(skimage.data.__file__).parent / "coffee.png") as photo:
        photo = photo.convert("RGB")
    board = Image.new("RGB", (right - left, bottom - top), (30, 70, 60))
    font = fonts.load(fonts.standard_font(word), (bottom - top) * 4 // 5)
    ImageDraw.Draw(board).text((board.width // 2, board.height // 2), word, (240, 225, 190), font, anchor="mm")
    photo.paste(board, (left, top))
    photo.save(path)
    return str(path)


def place_of(text: Optional[str]) -> predict.Place:
    try:
        return predict.place(text or "")
    except argparse.ArgumentTypeError as error:
        raise UserError(f"say where the word is, click two opposite corners of it: {error}") from None


def read(path: Optional[str]) -> Image.Image:
    if not path:
        raise UserError("choose a photograph first")
    return predict.read_photo(path)


def preview(path: str, place: Optional[str] = None) -> Image.Image:
    """The photograph as the page shows it, with a frame round the place."""
    photo = on_white(read(path))
    if place:
        corners = [tuple(corner) for corner in place_of(place).corners]
        ImageDraw.Draw(photo).line([*corners, corners[0]], (230, 30, 30), max(2, photo.width // 300))
    return photo


def edit(editor: predict.Editor, folder: str, path: str, place: str, word: str) -> tuple[Image.Image, str, str]:
    """The photograph with another word in a place, its new file, and how long it took, in words.

    Raises:
        UserError: see `predict.find_edits`.
    """
    started = time.perf_counter()
    photo = read(path)
    edits = predict.find_edits(photo, [place_of(place)], [word or ""])
    result, _ = predict.edit_photo(editor, photo, edits)
    seconds = time.perf_counter() - started
    file = cli.new_file(Path(folder) / f"{Path(path).stem}_edited.png")
    result.save(file)
    return on_white(result), str(file), f"{seconds:.1f} s"


def build(ckpt: Optional[str] = None) -> None:
    """Adds this model's components to the `gr.Blocks` or `gr.Tab` that is open.

    Args:
        ckpt: weights or a run's folder; None: pretrained/.
    """
    import gradio as gr

    folder = tempfile.mkdtemp(prefix="srnet-")
    try:
        editor = predict.load_editor(ckpt, open_session(SessionConfig()).device)
        example = write_example(folder)
        place = ",".join(map(str, EXAMPLE[1]))
        first = edit(editor, folder, example, place, EXAMPLE[2])
    except UserError as error:
        gr.Markdown(f"SRNet cannot be shown: {error}", elem_classes="message")
        return

    def told(function: Callable) -> Callable:
        """The function, whose mistakes of the user's become a message."""

        @functools.wraps(function)  # Gradio looks at its parameters
        def call(*args: Any) -> Any:
            try:
                return function(*args)
            except UserError as error:
                raise gr.Error(str(error), print_exception=False) from None

        return call

    @told
    def opened(path: Optional[str]) -> tuple:
        found = predict.find_places(read(path)) if path and ocr.installed() else []
        choices = [(text, place.flag.split("=")[1]) for place, text in found]
        start = choices[0][1] if len(choices) == 1 else ""
        return preview(path, start) if path else None, gr.update(choices=choices, value=start or None), start, None

    @told
    def clicked(path: str, corner: Optional[list], event: gr.SelectData) -> tuple:
        if corner is None:
            return gr.skip(), gr.skip(), event.index
        (left, right), (top, bottom) = (sorted(int(side) for side in pair) for pair in zip(corner, event.index))
        place = f"{left},{top},{right},{bottom}"
        return preview(path, place), place, None

    gr.Markdown(
        "Another word in a photograph, in the style of the one that is there. Trained on synthetic pairs of words."
    )
    with gr.Row():
        with gr.Column():
            file = gr.File(value=example, label="Photograph", type="filepath", elem_classes="input")
            shown = gr.Image(
                preview(example, place), label="Click two opposite corners of the word", type="pil",
                interactive=False, buttons=[],
            )  # fmt: skip
            words = gr.Dropdown([], label="Or a word that was found", visible=ocr.installed())
            where = gr.Textbox(place, label="Its place: left,top,right,bottom in pixels")
            word = gr.Textbox(EXAMPLE[2], label="New word", max_length=40, elem_classes="input")
            button = gr.Button("Replace the word", variant="primary", elem_classes="run")
        with gr.Column():
            result = gr.Image(first[0], label="Result", type="pil", format="png", elem_classes="result")
            seconds = gr.Markdown(first[2])
            download = gr.DownloadButton("Download the result", value=first[1])
    corner = gr.State(None)
    for event in (file.upload, file.clear):
        event(opened, file, [shown, words, where, corner])
    shown.select(clicked, [file, corner], [shown, where, corner])
    words.input(told(lambda path, box: (preview(path, box), box)), [file, words], [shown, where])
    where.submit(told(preview), [file, where], shown)
    for event in (button.click, word.submit):
        replace = told(lambda path, place, word: edit(editor, folder, path, place, word))
        event(replace, [file, where, word], [result, download, seconds])


if __name__ == "__main__":
    cli.leave(page.run(build, __doc__))
