r"""Draws sentences with a trained StackGAN: pictures of each stage, with the sentence above them.

python StackGAN/demo/demo.py --ckpt_path=RUN --output_path=drawn --caption="a small red bird with a white belly"
python StackGAN/demo/demo.py --ckpt_path=RUN --output_path=drawn --caption_path=sentences.txt --number=8
python StackGAN/demo/demo.py --ckpt_path=RUN --output_path=drawn --embeddings=example_captions.t7
python demo/demo.py --cfg demo/cfg/birds-demo.yml --caption_path sentences.txt

--caption may be repeated; a file of sentences has one a line. They are read by the text encoder beside the checkpoint
(text_encoder.h5, of train_text_encoder.py). Embeddings that something else made (.t7, .npz, .npy, .pickle) need none.

What comes out is new: sentence_01.png, a sheet with a row a stage, and its pictures one by one in stageI/ and stageII/,
with -2, -3, ... where that is there already. The same --seed draws the same pictures.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import _path  # noqa: F401  (finds ../common)
import data
import numpy as np
import text_encoder
import trained
from misc import config, torch7
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from common import cli
from common.cli import UserError
from common.session import add_device_flags, device_config, notice, open_session

MODEL = Path(__file__).resolve().parent.parent
CFG = MODEL / "demo" / "cfg" / "birds-demo.yml"
STAGES = {64: "stageI", 256: "stageII"}
EMBEDDINGS = (".t7", ".npz", ".npy", ".pickle")
MOST = 1000  # sentences
SHOWN = 256  # pixels a side on a sheet
MARGIN, FONT = 12, 22


class Sentence(NamedTuple):
    """What to draw."""

    text: str  # to stand on the sheet
    embedding: np.ndarray  # float32 [numbers]


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags; those left out are what the settings' file says under TEST.

    Raises:
        UserError: that file is broken.
    """
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", metavar="FILE", default=str(CFG), help="settings (demo/cfg/birds-demo.yml)")
    what = "a run's folder, or one checkpoint in it (TEST.PRETRAINED_MODEL)"
    parser.add_argument("--ckpt_path", metavar="PATH", help=what)
    parser.add_argument("--output_path", default="drawn", metavar="DIR", help="where the pictures go (drawn)")
    group = parser.add_argument_group("what to draw")
    group.add_argument("--caption", action="append", default=[], metavar="TEXT", help="a sentence; may be repeated")
    what = "sentences, one a line, or embeddings (TEST.CAPTION_PATH)"
    group.add_argument("--caption_path", metavar="FILE", help=what)
    group.add_argument("--embeddings", metavar="FILE", help="embeddings (.t7, .npz, .npy, .pickle)")
    what = "what reads sentences (text_encoder.h5 beside the checkpoint)"
    group.add_argument("--text_encoder", metavar="FILE", help=what)
    group.add_argument("--number", type=cli.in_range(int, 1, 256), help="pictures a sentence (TEST.NUM_COPY)")
    group.add_argument("--seed", type=cli.in_range(int, 0, 10**8), default=0, help="of the noise (0)")
    group.add_argument("--gpu", type=cli.in_range(int, 0), metavar="N", help="which GPU or NPU (GPU_ID)")
    add_device_flags(parser)
    args = parser.parse_args(argv)

    settings = {**config.defaults(), **config.load(args.cfg)}
    args.gpu = settings["gpu_id"] if args.gpu is None else args.gpu
    args.number = args.number or settings["test_num_copy"]
    args.ckpt_path = args.ckpt_path or from_settings(settings["test_pretrained_model"])
    if not (args.caption or args.caption_path or args.embeddings):
        args.caption_path = from_settings(settings["test_caption_path"])
    if not args.ckpt_path:
        parser.error("--ckpt_path: name a run's folder; train.py makes one")
    if not (args.caption or args.caption_path or args.embeddings):
        parser.error('nothing to draw: give --caption="a red bird", --caption_path FILE or --embeddings FILE')
    return args


def from_settings(path: str) -> str:
    """A path of the settings' file: from the working folder, or else from this model's."""
    return path if not path or Path(path).exists() else str(MODEL / path)


# Sentences.


def read_sentences(args: argparse.Namespace) -> list[str]:
    """The sentences that the flags name, in their order.

    Raises:
        UserError: a file that cannot be read, or one that holds none.
    """
    texts = list(args.caption)
    if args.caption_path and Path(args.caption_path).suffix not in EMBEDDINGS:
        found = data.read_lines(Path(args.caption_path))
        if not found:
            raise UserError(f"--caption_path {args.caption_path}: holds no sentence; write at least one, one a line")
        texts += found
    return texts


def read_embedded(path: str) -> tuple[list[str], np.ndarray]:
    """Embeddings from a file, float32 [n, numbers], and the sentences they are of where it tells those, else names.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    found = data.read_embeddings(path)
    n, captions, _ = found.shape
    name = Path(path).name
    texts = [f"{name}, {row + 1}" + f".{i + 1}" * (captions > 1) for row in range(n) for i in range(captions)]
    table = torch7.load(path) if Path(path).suffix == ".t7" else None
    told = table.get("raw_txt") if isinstance(table, dict) else None
    if isinstance(told, list) and len(told) == len(texts) and all(isinstance(text, str) for text in told):
        texts = told
    return texts, found.reshape(n * captions, -1)


def find_encoder(args: argparse.Namespace, model: trained.Trained) -> str:
    """The file of the text encoder that a model's sentences are read by.

    Raises:
        UserError: there is none.
    """
    if args.text_encoder:
        return args.text_encoder
    places = [model.run_folder / text_encoder.FILE]
    folder = Path(getattr(model.options, "data_path", None) or "")
    if (folder / "train").is_dir() and data.embeddings_made_by(folder / "train") == data.BY_ENCODER:
        places.append(folder / text_encoder.FILE)
    for place in places:
        if place.is_file():
            return str(place)
    raise UserError(
        f"there is no {places[0]}: train_text_encoder.py makes it, before a model is trained on its embeddings.\n"
        "Name another by --text_encoder, or draw --embeddings that something else made"
    )


# Sheets.


def wrapped(text: str, font: ImageFont.ImageFont, width: int) -> list[str]:
    """A text in lines of at most so many pixels; a longer word has a line of its own."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def sheet(text: str, stages: Sequence[np.ndarray]) -> Image.Image:
    """A sentence above its pictures, a row a stage.

    Args:
        stages: uint8 [n, side, side, 3] each.
    """
    font = ImageFont.load_default(size=FONT)
    width = len(stages[0]) * (SHOWN + MARGIN) + MARGIN
    lines = wrapped(text, font, width - 2 * MARGIN)
    top = len(lines) * (FONT + 6) + 2 * MARGIN
    picture = Image.new("RGB", (width, top + len(stages) * (SHOWN + MARGIN)), "white")
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        pen.text((MARGIN, MARGIN + number * (FONT + 6)), line, "black", font)
    for row, pictures in enumerate(stages):
        for column, pixels in enumerate(pictures):
            tile = Image.fromarray(pixels).resize((SHOWN, SHOWN), Image.BICUBIC)
            picture.paste(tile, (MARGIN + column * (SHOWN + MARGIN), top + row * (SHOWN + MARGIN)))
    return picture


# The command.


def embed(args: argparse.Namespace, model: trained.Trained) -> list[Sentence]:
    """What the flags name, embedded.

    Raises:
        UserError: no encoder, an empty sentence, a file of no use.
    """
    found = []
    texts = read_sentences(args)
    if texts:
        encoder = text_encoder.load(find_encoder(args, model))
        found += map(Sentence, texts, text_encoder.encode(encoder, texts))
    for path in (args.caption_path, args.embeddings):
        if path and (path == args.embeddings or Path(path).suffix in EMBEDDINGS):
            found += map(Sentence, *read_embedded(path))
    for sentence in found:
        if len(sentence.embedding) != trained.embedding_size(model):
            raise UserError(
                f"{sentence.text[:60]!r}: an embedding of {len(sentence.embedding)} numbers, and the model takes "
                f"{trained.embedding_size(model)}; use the encoder that it was trained with"
            )
    if len(found) > MOST:
        notice(f"there are {len(found)} sentences; the first {MOST} are drawn")
    return found[:MOST]


def save(picture: Image.Image, path: Path) -> Path:
    """Writes a new PNG file."""
    path = cli.new_file(path)
    picture.save(path, format="PNG")
    return path


def demo(args: argparse.Namespace) -> None:
    """Draws what the flags name, and prints what became of it.

    Raises:
        UserError: no such checkpoint, encoder or file, or one of no use; an empty sentence; a folder that cannot be
            written.
    """
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", str(args.gpu))
    os.environ.setdefault("ASCEND_DEVICE_ID", str(args.gpu))
    open_session(device_config(args))
    model = trained.load(args.ckpt_path)
    sentences = embed(args, model)
    folder = Path(args.output_path).expanduser()
    for number, sentence in enumerate(tqdm(sentences, "drawing", unit="", disable=None), 1):
        # The same noise for all, so that a column of several sheets differs by the sentence alone.
        stages = trained.draw(model, np.repeat(sentence.embedding[None], args.number, 0), seed=args.seed)
        name = f"sentence_{number:02d}"
        path = save(sheet(sentence.text, stages), folder / f"{name}.png")
        for pictures in stages:
            for column, pixels in enumerate(pictures, 1):
                save(Image.fromarray(pixels), folder / STAGES[pixels.shape[0]] / f"{name}_{column:02d}.png")
        tqdm.write(f"{path}  {sentence.text}", file=sys.stdout)
    notice(f"{len(sentences)} sentences, {args.number} pictures each, drawn by {model.prefix}")


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(lambda: demo(parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
