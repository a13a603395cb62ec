"""Pix2Pix in the browser: paint a facade with labelled colours and see its photograph.

python Pix2Pix/app.py                              with the weights in Pix2Pix/pretrained/
python Pix2Pix/app.py --ckpt_path=RUN --port=7861

Needs gradio (current stack only). The page is served to this machine alone and takes nothing from any other.
"""

import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import predict
from data import FACADE_LABELS
from model import NETWORK, load_generator
from PIL import Image, ImageOps
from sample_data import SIZE, draw_pair

from common import cli, images, page, weights
from common.cli import UserError
from common.config import SessionConfig
from common.session import open_session

CANVAS = 512  # pixels of the painted map on the page
COLOURS = np.array(list(FACADE_LABELS.values()))
TEMPLATES = {"town house": 7, "shops below": 5, "large windows": 1, "a bare wall": None}  # drawn by these seeds


def template(name: str) -> np.ndarray:
    """A label map to begin with, uint8 [CANVAS, CANVAS, 3]."""
    if TEMPLATES[name] is None:
        wall = Image.new("RGB", (CANVAS - 64, CANVAS - 64), FACADE_LABELS["facade"])
        return np.asarray(ImageOps.expand(wall, 32, FACADE_LABELS["background"]))
    labels = draw_pair(np.random.default_rng(TEMPLATES[name])).crop((SIZE, 0, 2 * SIZE, SIZE))
    return np.asarray(labels.resize((CANVAS, CANVAS), Image.NEAREST))


def cleaned(painted: np.ndarray, size: int) -> np.ndarray:
    """What was painted, uint8 [h, w, 3], as a label map of the twelve colours, uint8 [size, size, 3]: brushes blur."""
    small = np.asarray(Image.fromarray(painted).resize((size, size), Image.NEAREST), np.int64)
    nearest = np.square(small[:, :, None] - COLOURS).sum(3).argmin(2)
    return COLOURS[nearest].astype(np.uint8)


def read_labels(path: str) -> np.ndarray:
    """A user's label map as uint8 [CANVAS, CANVAS, 3]; of a side-by-side pair the right half.

    Raises:
        UserError: it is no image.
    """
    image = Image.fromarray(images.read_rgb(path))
    if image.width == 2 * image.height:
        image = image.crop((image.height, 0, image.width, image.height))
    return np.asarray(image.resize((CANVAS, CANVAS), Image.NEAREST))


def photograph(translator: predict.Translator, painted: Optional[np.ndarray], folder: str) -> tuple[Any, str, str]:
    """The photograph of a painted label map, its file, and how long it took, in words.

    Raises:
        UserError: nothing was painted.
    """
    if painted is None:
        raise UserError("paint something first, or take a template")
    started = time.perf_counter()
    generated = translator(cleaned(painted[..., :3], translator.options.fine_size))
    seconds = time.perf_counter() - started
    target = cli.new_file(Path(folder) / "facade.png")
    predict.save_image(generated, target)
    return generated, str(target), f"{seconds:.2f} s"


def load(ckpt: Optional[str]) -> tuple[predict.Translator, str]:
    """The generator, and one line on what it was trained on.

    Raises:
        UserError: there are no such weights, or they are not of label maps to photographs.
    """
    found = weights.load(ckpt, NETWORK, predict.HERE)
    open_session(SessionConfig())
    generator, options = load_generator(found), found.options
    if options.input_nc != 3 or options.output_nc != 3:
        raise UserError(f"{found.path}: takes no coloured label maps")
    data = found.about.get("data", "pairs of your own")
    told = f"Trained for {found.step} steps on {data}, {options.fine_size} x {options.fine_size} pixels."
    return predict.network_translator(generator, options, found.path), told


def build(ckpt: Optional[str] = None) -> None:
    """Adds this model's components to the `gr.Blocks` or `gr.Tab` that is open.

    Args:
        ckpt: weights or a run's folder; None: pretrained/.
    """
    import gradio as gr

    folder, name = tempfile.mkdtemp(prefix="pix2pix-"), next(iter(TEMPLATES))
    first = template(name)
    try:
        translator, trained_on = load(ckpt)
        generated, file, seconds = photograph(translator, first, folder)
    except UserError as error:
        gr.Markdown(f"Pix2Pix cannot be shown: {error}", elem_classes="message")
        return

    def paint(value: Optional[dict]) -> Any:
        return photograph(translator, value and value["composite"], folder)

    def begin(labels: np.ndarray) -> Any:
        return labels, *photograph(translator, labels, folder)

    def guarded(function: Callable, outputs: int) -> Callable:
        """`function` with a user's mistake as a message on the page, which then stays as it is."""

        def call(given: Any) -> Any:
            try:
                return function(given)
            except UserError as error:
                gr.Warning(str(error))
                return [gr.skip()] * outputs

        return call

    gr.Markdown(f"Paint a facade, see its photograph. {trained_on}")
    colours = [f"rgb{colour}" for colour in FACADE_LABELS.values()]
    box = '<span style="display:inline-block;width:1em;height:1em;background:{};vertical-align:middle"></span> {}'
    gr.HTML(" &ensp; ".join(box.format(colour, label) for colour, label in zip(colours, FACADE_LABELS)))  # the legend
    with gr.Row():
        with gr.Column():
            editor = gr.ImageEditor(
                first,
                label="Labels",
                type="numpy",
                image_mode="RGB",
                format="png",
                sources=(),
                transforms=(),
                layers=False,
                interactive=True,
                height=600,
                brush=gr.Brush(colors=colours, color_mode="fixed", default_size=8),
                canvas_size=(CANVAS, CANVAS),
                fixed_canvas=True,
            )
            names = gr.Radio(list(TEMPLATES), value=name, label="Template", elem_classes="input")
            own = gr.UploadButton("A label map of your own", file_types=["image"], type="filepath")
        with gr.Column():
            result = gr.Image(
                generated,
                label="Photograph",
                format="png",
                interactive=False,
                height=600,
                buttons=["download", "fullscreen"],
                elem_classes="result",
            )
            button = gr.Button("Photograph", variant="primary", elem_classes="run")
            download = gr.DownloadButton("Download", value=file)
            told = gr.Markdown(seconds)
    outputs = [result, download, told]
    button.click(guarded(paint, 3), editor, outputs)
    # While one paints, only the newest state is worth an image.
    editor.input(guarded(paint, 3), editor, outputs, show_progress="hidden", trigger_mode="always_last")
    names.change(guarded(lambda name: begin(template(name)), 4), names, [editor, *outputs], show_progress="hidden")
    own.upload(guarded(lambda path: begin(read_labels(path)), 4), own, [editor, *outputs], show_progress="hidden")


if __name__ == "__main__":
    cli.leave(page.run(build, __doc__))
