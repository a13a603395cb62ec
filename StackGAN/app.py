"""StackGAN in the browser: a sentence in, images of both stages out.

python StackGAN/app.py                              with the weights in StackGAN/pretrained/
python StackGAN/app.py --ckpt_path=RUN --port=7861

Needs gradio (current stack only). The page is served to this machine alone and takes nothing from any other.
"""

import tempfile
import time
from pathlib import Path
from typing import Any, Optional

import _path  # noqa: F401  (finds ../common)
import data
import predict
import text_encoder
from text_encoder import TextEncoder

from common import cli, page
from common.cli import UserError
from common.config import SessionConfig
from common.session import open_session

EXAMPLE, NUM, SEED = "a blue bird with a white belly", 4, 0
MOST_LETTERS = 1000
METHODS = {64: "stage I, 64 x 64", 256: "stage II, 256 x 256"}


def load(ckpt: Optional[str]) -> tuple[predict.Generators, TextEncoder, str]:
    """The generators, the text encoder, and one line on what they were trained on."""
    open_session(SessionConfig())
    generator = predict.open_generator(ckpt)
    encoder = text_encoder.load(generator.folder / text_encoder.FILE)
    o = vars(generator.options)  # what ships says nothing of folders
    path = Path(o.get("data_path") or o.get("dataset_name", "?")).name
    stages = "both stages" if len(generator.image_sizes) > 1 else "stage I"
    return generator, encoder, f"Trained on the images and captions of {path}, {stages}."


def generate(
    generator: predict.Generators, encoder: TextEncoder, sentence: Optional[str], seed: Optional[float], folder: str
) -> tuple[list, str, str]:
    """Images of a sentence, for the page.

    Returns: [(image uint8 [s, s, 3], caption), ...], the sheet's file, and what there is to say.
    Raises:
        UserError: the sentence or the seed cannot be used.
    """
    if not sentence or len(sentence) > MOST_LETTERS:
        raise UserError(f"write a sentence of at most {MOST_LETTERS} letters first")
    if seed is None or not 0 <= seed <= 10**8:
        raise UserError("the seed is a whole number from 0 to 100000000")
    started = time.perf_counter()
    stages, told = predict.sentence_images(generator, encoder, sentence, NUM, int(seed))
    seconds = time.perf_counter() - started
    path = cli.new_file(Path(folder) / f"{predict.slug(sentence)}.png")
    predict.sheet(sentence, stages).save(path)
    images = [(data.resized(image, 256), METHODS[image.shape[0]]) for stage in stages for image in stage]
    return images, str(path), " ".join([f"{seconds:.1f} s.", *(f"{line[0].upper()}{line[1:]}." for line in told)])


def build(ckpt: Optional[str] = None) -> None:
    """Adds this model's components to the `gr.Blocks` or `gr.Tab` that is open; `ckpt` None: pretrained/'s weights."""
    import gradio as gr

    folder = tempfile.mkdtemp(prefix="stackgan-")
    try:
        generator, encoder, trained_on = load(ckpt)
        first = generate(generator, encoder, EXAMPLE, SEED, folder)
    except UserError as error:
        gr.Markdown(f"StackGAN cannot be shown: {error}", elem_classes="message")
        return

    def show(sentence: Any, seed: Any) -> Any:
        try:
            return generate(generator, encoder, sentence, seed, folder)
        except UserError as error:
            gr.Warning(str(error))
            return gr.skip(), gr.skip(), gr.skip()

    gr.Markdown(f"Images of a sentence. {trained_on}")
    with gr.Row():
        with gr.Column(scale=1):
            sentence = gr.Textbox(value=EXAMPLE, label="Sentence", max_lines=3, elem_classes="input")
            seed = gr.Number(value=SEED, precision=0, minimum=0, maximum=10**8, label="Seed")
            button = gr.Button("Generate", variant="primary", elem_classes="run")
            download = gr.DownloadButton("Download the images", value=first[1])
            told = gr.Markdown(first[2])
        looks = {"columns": NUM, "format": "png", "interactive": False, "elem_classes": "result"}
        gallery = gr.Gallery(first[0], label="Four images, a row a stage", **looks)
    for event in (button.click, sentence.submit):
        event(show, [sentence, seed], [gallery, download, told])


if __name__ == "__main__":
    cli.leave(page.run(build, __doc__))
