"""SRGAN in the browser: a photograph in, a slider between bicubic interpolation and ours out.

python SRGAN/app.py                              with the weights in SRGAN/pretrained/
python SRGAN/app.py --ckpt_path=RUN --port=7861

Needs gradio (current stack only). The page is served to this machine alone and takes nothing from any other.
"""

import tempfile
import time
from pathlib import Path
from typing import Any, Optional

import _path  # noqa: F401  (finds ../common)
import checkpoint
import numpy as np
import predict
import skimage.data
from enlarger import Enlarger
from PIL import Image

from common import cli, page
from common.cli import UserError
from common.images import on_white

MAX_PIXELS = 2**20  # of a photograph: what a page shows after seconds, and a browser then shows at all


def enlarge_file(network: Enlarger, path: str, folder: str) -> tuple[tuple, str, str]:
    """A photograph enlarged: the images of the slider (bicubic, ours), the result's file, and what there is to say.

    Raises:
        UserError: it cannot be used, or is too large to wait for here.
    """
    pixels, _ = predict.read(Path(path))
    height, width = pixels.shape[:2]
    if height * width > MAX_PIXELS:
        limit = f"more than this page takes ({MAX_PIXELS})"
        raise UserError(f"{width} x {height} pixels are {limit}: python SRGAN/predict.py takes any")
    started = time.perf_counter()
    target = predict.enlarge_file(network, Path(path), predict.parse_args([path, f"--output_path={folder}"]))
    seconds = time.perf_counter() - started
    ours = shown(predict.read(target)[0])
    bicubic = shown(pixels).resize(ours.size, Image.BICUBIC)
    told = f"{width} x {height} became {ours.width} x {ours.height} in {seconds:.1f} s. Left: bicubic. Right: ours."
    return (bicubic, ours), str(target), told


def shown(pixels: np.ndarray) -> Image.Image:
    """uint8 or uint16 [h, w, 1 to 4] as an RGB image of 8 bits, on white."""
    pixels = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    return on_white(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


def build(ckpt: Optional[str] = None) -> None:
    """Adds this model's components to the `gr.Blocks` or `gr.Tab` that is open.

    Args:
        ckpt: weights or a run's folder; None: pretrained/.
    """
    import gradio as gr

    folder = tempfile.mkdtemp(prefix="srgan-")
    try:
        weights = checkpoint.load_weights(ckpt)
        network = checkpoint.load(weights.path, precision_mode=None)
        example = f"{folder}/coffee.png"  # a photograph that no training here has seen
        Image.fromarray(skimage.data.coffee()).resize((240, 160), Image.BICUBIC).save(example)
        first = enlarge_file(network, example, folder)
    except UserError as error:
        gr.Markdown(f"SRGAN cannot be shown: {error}", elem_classes="message")
        return

    def enlarge(path: Optional[str], last: str) -> Any:
        try:
            return *enlarge_file(network, path or last, folder), path or last, None
        except UserError as error:
            gr.Warning(str(error))
            return gr.skip(), gr.skip(), gr.skip(), gr.skip(), None

    by = "SRGAN" if getattr(weights.options, "phase", None) in ("srgan", "both") else "SRResNet"
    data = weights.about.get("data", "images that are not named")
    data += ", blurred, noisy and compressed" * (getattr(weights.options, "degradation", None) == "photo")
    gr.Markdown(f"A photograph {network.scale} times as large. {by}, {weights.step} steps on {data}.")
    last = gr.State(example)
    with gr.Row():
        with gr.Column(scale=1):
            photo = gr.File(label="Photograph", type="filepath", elem_classes="input")
            button = gr.Button("Enlarge", variant="primary", elem_classes="run")
            download = gr.DownloadButton("Download the result", value=first[1])
            told = gr.Markdown(first[2])
        looks = {"label": "bicubic | ours", "format": "jpeg", "scale": 3, "elem_classes": "result"}
        slider = gr.ImageSlider(value=first[0], interactive=False, **looks)
    for event in (button.click, photo.upload):
        event(enlarge, [photo, last], [slider, download, told, last, photo])


if __name__ == "__main__":
    cli.leave(page.run(build, __doc__))
