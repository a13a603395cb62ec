"""ImprovedGAN in the browser: draw a digit and see what it is taken for; a grid of generated digits.

python ImprovedGAN/app.py [--ckpt_path=RUN]        needs Gradio 6; serves on 127.0.0.1 alone, asks no other host
"""

import tempfile
import time
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import preprocess
from PIL import Image, ImageDraw
from predict import GENERATOR, Predictor, open_checkpoint

from common import cli, page
from common.cli import UserError
from common.images import on_white, save_grid

EXAMPLE = [(187, 72), (106, 72), (100, 133), (140, 122), (180, 138), (192, 175), (170, 212), (128, 220), (95, 200)]
GENERATED = 64


def example() -> Image.Image:
    """A five in thick black strokes, what the page shows when it opens."""
    image = Image.new("RGB", (280, 280), "white")
    ImageDraw.Draw(image).line(EXAMPLE, fill="black", width=20, joint="curve")
    return image


def recognise(predictor: Predictor, image: Image.Image) -> tuple[dict[str, float], np.ndarray, str]:
    """What an image shows: {class: probability}; the image as the network sees it, four times as large; the time."""
    started = time.perf_counter()
    pixels = preprocess.to_input(image, predictor.image_shape, predictor.ink)
    probabilities = predictor.classify(pixels[None], 1)[0]
    seen = pixels.repeat(4, 0).repeat(4, 1)
    answer = dict(zip(predictor.class_names, map(float, probabilities)))
    return answer, np.broadcast_to(seen, (*seen.shape[:2], 3)), f"{time.perf_counter() - started:.2f} seconds"


def generate(predictor: Predictor, seed: int) -> str:
    """Generated images as one file, its path."""
    images = predictor.generate(GENERATED, seed)
    path = Path(tempfile.mkdtemp(prefix="improvedgan-")) / f"generated_{seed}.png"
    return save_grid(images.repeat(2, 1).repeat(2, 2), str(path))


def build(ckpt: Optional[str] = None) -> None:
    """Adds this model's components to the `gr.Blocks` or `gr.Tab` that is open.

    Args:
        ckpt: a run's folder or a file of weights; without it those in pretrained/.
    """
    import gradio as gr

    def on_sketch(sketch):
        image = sketch and sketch.get("composite")
        if image is None or not np.ptp(np.asarray(on_white(image))):
            raise gr.Error("Draw a digit first.", print_exception=False)
        return recognise(predictor, on_white(image))

    def on_file(path):
        try:
            return recognise(predictor, preprocess.read_image(path))
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None

    try:
        predictor = open_checkpoint(ckpt)
        sampler = predictor if ckpt else open_checkpoint(None, shipped=GENERATOR, session=predictor.session)
    except UserError as error:
        gr.Markdown(f"ImprovedGAN cannot be shown: {error}", elem_classes="message")
        return
    first = recognise(predictor, example())
    trained = f"Trained on {predictor.dataset}, {predictor.loaded.step} steps."
    gr.Markdown(f"{trained} Draw one digit, or give a photograph of one on paper.")
    with gr.Row():
        with gr.Column():
            brush = gr.Brush(default_size=20, colors=["#000000"], color_mode="fixed")
            look = {"canvas_size": (280, 280), "brush": brush, "layers": False, "label": "A digit"}
            pad = gr.Sketchpad(example(), type="pil", **look)
            ask = gr.Button("What is it?", variant="primary", elem_classes="run")
            file = gr.File(type="filepath", label="or an image file", elem_classes="input")
        with gr.Column():
            answer = gr.Label(first[0], num_top_classes=10, label="Probabilities", elem_classes="result")
            seen = gr.Image(first[1], label="as the network sees it", interactive=False, height=140)
            seconds = gr.Markdown(first[2])
    with gr.Row():
        with gr.Column():
            seed = gr.Number(0, precision=0, minimum=0, maximum=2**31 - 1, label="Seed")
            draw = gr.Button(f"Generate {GENERATED} digits")
        generated = gr.Image(generate(sampler, 0), type="filepath", label="Generated", interactive=False)
    ask.click(on_sketch, pad, [answer, seen, seconds])
    file.upload(on_file, file, [answer, seen, seconds])
    draw.click(lambda number: generate(sampler, number or 0), seed, generated)


if __name__ == "__main__":
    cli.leave(page.run(build, __doc__))
