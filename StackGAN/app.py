"""StackGAN in the browser: a sentence in, images of both stages out.

python StackGAN/app.py                              with the weights in StackGAN/pretrained/
python StackGAN/app.py --ckpt_path=RUN --port=7861

Needs gradio (current stack only). The page is served to this machine alone and takes nothing from any other.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import _path  # noqa: F401  (finds ../common)
import data
import predict
import text_encoder

from common import cli
from common.cli import UserError, notice
from common.session import SessionConfig, open_session

EXAMPLE, NUM, SEED = "a small red bird with black wings", 4, 0
MOST_LETTERS = 1000
METHODS = {64: "stage I, 64 x 64", 256: "stage II, 256 x 256"}


def load(ckpt: Optional[str]) -> tuple[predict.Generators, text_encoder.TextEncoder, str]:
    """The generators, the text encoder, and one line on what they were trained on."""
    open_session(SessionConfig())
    generator = predict.open_generator(ckpt)
    encoder = predict.find_encoder(generator)
    path = os.path.basename(os.path.normpath(getattr(generator.options, "data_path", "") or "")) or "?"
    stages = "both stages" if len(generator.image_sizes) > 1 else "stage I"
    return generator, encoder, f"Trained on the images and captions of {path}, {stages}."


def generate(
    generator: predict.Generators, encoder: text_encoder.TextEncoder, sentence: Any, seed: Any, folder: str
) -> tuple[list, str, str]:
    """Images of a sentence, for the page.

    Returns: [(image uint8 [s, s, 3], caption), ...], the sheet's file, and what there is to say.
    Raises:
        UserError: the sentence or the seed cannot be used.
    """
    if not isinstance(sentence, str) or not sentence.strip() or len(sentence) > MOST_LETTERS:
        raise UserError(f"write a sentence of at most {MOST_LETTERS} letters first")
    if not isinstance(seed, (int, float)) or seed != seed or not 0 <= seed <= 10**8:
        raise UserError("the seed is a whole number from 0 to 100000000")
    started = time.perf_counter()
    stages, told = predict.sentence_images(generator, encoder, sentence, NUM, int(seed))
    seconds = time.perf_counter() - started
    path = cli.new_file(Path(folder) / f"{predict.slug(sentence)}.png")
    predict.sheet(sentence, stages).save(path)
    images = [(data.resized(image, 256), METHODS[image.shape[0]]) for stage in stages for image in stage]
    return images, str(path), " ".join([f"{seconds:.1f} s.", *(f"{line[0].upper()}{line[1:]}." for line in told)])


def build(ckpt: Optional[str] = None) -> None:
    """Adds this model's components to the `gr.Blocks` or `gr.Tab` that is open.

    Args:
        ckpt: weights or a run's folder; None: pretrained/.
    """
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
        gallery = gr.Gallery(
            first[0],
            label="Four images, a row a stage",
            columns=NUM,
            format="png",
            interactive=False,
            elem_classes="result",
        )
    for event in (button.click, sentence.submit):
        event(show, [sentence, seed], [gallery, download, told])


def serve(args: argparse.Namespace) -> None:
    """Serves the page on this machine until it is interrupted.

    Raises:
        UserError: gradio is not here, or the port is taken.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio as gr
    except ImportError:
        raise UserError("the page needs gradio: pip install gradio==6.31.0 pillow==12.3.0") from None
    with gr.Blocks(title="StackGAN", analytics_enabled=False) as page:
        build(args.ckpt_path)
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # no host is asked for a font
    notice(f"http://127.0.0.1:{args.port} (Ctrl-C ends it)")
    try:
        page.launch(server_name="127.0.0.1", server_port=args.port, theme=theme, ssr_mode=False, quiet=True)
    except OSError:
        raise UserError(f"--port {args.port} is taken; give another one") from None


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--ckpt_path", metavar="PATH", help="weights or a run's folder (StackGAN/pretrained/)")
    parser.add_argument("--port", type=cli.in_range(int, 1, 65535), default=7860, help="of http://127.0.0.1")
    return cli.run_main(serve, parser.parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
