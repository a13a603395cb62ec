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
from enlarger import Enlarger
from model import load_generator
from PIL import Image
from png import png_writer

from common import cli, page
from common.cli import UserError
from common.images import on_white
from common.session import SessionConfig, open_session

MAX_PIXELS = 2**20  # of a photograph: what a page shows after seconds, and a browser then shows at all
MAX_LENGTH = 8000  # pixels of its height and width: JPEG has a limit of 65500
EXAMPLE = ("coffee.png", (240, 160))  # a photograph that scikit-image installs, and its size here
KINDS = {"srresnet": "SRResNet, for fidelity", "srgan": "SRGAN, for sharpness", "both": "SRGAN, for sharpness"}


def enlarge_file(network: Enlarger, path: str, folder: str) -> tuple[tuple, str, str]:
    """A photograph enlarged, for the page.

    Returns: the images of the slider (bicubic, ours), the result's file, and how long it took, in words.
    Raises:
        UserError: it cannot be used, or is too large to wait for here.
    """
    photo = predict.read(Path(path))
    height, width, channels = photo.pixels.shape
    if height * width > MAX_PIXELS or max(height, width) > MAX_LENGTH:
        raise UserError(
            f"{width} x {height} pixels are more than this page takes ({MAX_PIXELS}): python SRGAN/predict.py takes any"
        )
    started = time.perf_counter()
    result = predict.enlarge(network, photo.pixels)
    seconds = time.perf_counter() - started
    target = cli.new_file(Path(folder) / f"{Path(path).stem}_x{network.scale}.png")
    with png_writer(target, *result.shape[:2], channels, 8 * result.itemsize, photo.profile) as write:
        write(result)
    ours = shown(result)
    bicubic = shown(photo.pixels).resize(ours.size, Image.BICUBIC)
    told = f"{width} x {height} became {ours.width} x {ours.height} in {seconds:.1f} s. Left: bicubic. Right: ours."
    return (bicubic, ours), str(target), told


def shown(pixels: np.ndarray) -> Image.Image:
    """uint8 or uint16 [h, w, 1 to 4] as an RGB image of 8 bits, on white."""
    pixels = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    return on_white(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


def example_file(folder: str) -> str:
    """A small photograph that no training here has seen."""
    import skimage.data

    name, size = EXAMPLE
    path = Path(folder) / name
    with Image.open(Path(skimage.data.__file__).parent / name) as image:
        image.convert("RGB").resize(size, Image.BICUBIC).save(path)
    return str(path)


def load(ckpt: Optional[str]) -> tuple[Enlarger, str]:
    """The network, and one line on what it was trained on."""
    weights = checkpoint.load_weights(ckpt)
    session, options = open_session(SessionConfig()), weights.options
    network = checkpoint.from_generator(load_generator(weights), options, weights.path, session.device)
    data = weights.about.get("data") or Path(getattr(options, "data_path", "?")).name
    made = {"photo": "blurred, noisy and compressed", "bicubic": "cleanly shrunk"}
    made = made.get(getattr(options, "degradation", "bicubic"), "shrunk")
    kind = KINDS.get(getattr(options, "phase", ""), "SRGAN")
    return network, f"{kind}, x{options.scale}; {weights.step} steps on {data}, {made}."


def build(ckpt: Optional[str] = None) -> None:
    """Adds this model's components to the `gr.Blocks` or `gr.Tab` that is open.

    Args:
        ckpt: weights or a run's folder; None: pretrained/.
    """
    import gradio as gr

    folder = tempfile.mkdtemp(prefix="srgan-")
    try:
        network, trained_on = load(ckpt)
        example = example_file(folder)
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

    gr.Markdown(f"A photograph {network.scale} times as large. {trained_on}")
    last = gr.State(example)
    with gr.Row():
        with gr.Column(scale=1):
            photo = gr.File(label="Photograph", type="filepath", elem_classes="input")
            button = gr.Button("Enlarge", variant="primary", elem_classes="run")
            download = gr.DownloadButton("Download the result", value=first[1])
            told = gr.Markdown(first[2])
        slider = gr.ImageSlider(
            value=first[0],
            label="bicubic | ours",
            format="jpeg",
            interactive=False,
            scale=3,
            elem_classes="result",
        )
    for event in (button.click, photo.upload):
        event(enlarge, [photo, last], [slider, download, told, last, photo])


if __name__ == "__main__":
    cli.leave(page.run(build, __doc__))
