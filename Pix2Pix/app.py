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
from PIL import Image
from readback import COLOURS, classes_of
from sample_data import draw_pair

from common import cli, images, page, weights
from common.cli import UserError
from common.config import SessionConfig
from common.session import open_session

CANVAS = 512  # pixels of the painted map on the page


def on_canvas(image: Image.Image) -> np.ndarray:
    """A label map as uint8 [CANVAS, CANVAS, 3]; of a side-by-side pair the right half."""
    if image.width == 2 * image.height:
        image = image.crop((image.height, 0, image.width, image.height))
    return np.asarray(image.resize((CANVAS, CANVAS), Image.NEAREST))


def templates() -> dict[str, np.ndarray]:
    """Label maps to begin with, uint8 [CANVAS, CANVAS, 3], by their names."""
    seeds = {"town house": 0, "shops below": 10, "large windows": 4}
    found = {name: on_canvas(draw_pair(np.random.default_rng(seed))) for name, seed in seeds.items()}
    wall = np.full((CANVAS, CANVAS, 3), FACADE_LABELS["background"], np.uint8)
    wall[32:-32, 32:-32] = FACADE_LABELS["facade"]
    return {**found, "a bare wall": wall}


def cleaned(painted: np.ndarray, size: int) -> np.ndarray:
    """What was painted, uint8 [h, w, 3], as a label map of the twelve colours, uint8 [size, size, 3]: brushes blur."""
    classes, _ = classes_of(painted, size)
    return COLOURS[classes].astype(np.uint8)


def photograph(translator: predict.Translator, painted: Optional[np.ndarray], folder: str) -> tuple[Any, str, str]:
    """The photograph of a painted label map, as large as the map is shown; its file; how long it took, in words.

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
    large = Image.fromarray(generated).resize((CANVAS, CANVAS), Image.BICUBIC)
    return np.asarray(large), str(target), f"{seconds:.2f} s"


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

    folder, label_maps = tempfile.mkdtemp(prefix="pix2pix-"), templates()
    name, first = next(iter(label_maps.items()))
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
    looks = {"format": "png", "height": 600}
    with gr.Row():
        with gr.Column():
            brush = gr.Brush(colors=colours, color_mode="fixed", default_size=8)
            canvas = {"canvas_size": (CANVAS, CANVAS), "fixed_canvas": True, "image_mode": "RGB", "interactive": True}
            tools = {"brush": brush, "layers": False, "sources": (), "transforms": ()}
            editor = gr.ImageEditor(first, label="Labels", **looks, **canvas, **tools)
            names = gr.Radio(list(label_maps), value=name, label="Template", elem_classes="input")
            own = gr.UploadButton("A label map of your own", file_types=["image"], type="filepath")
        with gr.Column():
            looks.update(buttons=["download", "fullscreen"], interactive=False, elem_classes="result")
            result = gr.Image(generated, label="Photograph", **looks)
            button = gr.Button("Photograph", variant="primary", elem_classes="run")
            download = gr.DownloadButton("Download", value=file)
            told = gr.Markdown(seconds)
    outputs = [result, download, told]
    button.click(guarded(paint, 3), editor, outputs)
    # While one paints, only the newest state is worth an image.
    editor.input(guarded(paint, 3), editor, outputs, show_progress="hidden", trigger_mode="always_last")
    whole = {"outputs": [editor, *outputs], "show_progress": "hidden"}
    names.change(lambda name: begin(label_maps[name]), names, **whole)
    own.upload(guarded(lambda path: begin(on_canvas(Image.fromarray(images.read_rgb(path)))), 4), own, **whole)


if __name__ == "__main__":
    cli.leave(page.run(build, __doc__))
