"""Changes words in photographs with a trained SRNet, whole photographs or crops of a word.

python SRNet/predict.py sign.jpg --box=40,60,210,120 --text=HELLO
python SRNet/predict.py sign.jpg --text=HELLO                        finds the word, with rapidocr-onnxruntime
python SRNet/predict.py --i_s=crop.png --i_t=word.png --save_mode=1
python SRNet/predict.py --checkpoint=RUN --save_dir=edited --input_dir=labels

Of a photograph, each --box or --quad is cut out upright with the word in it, edited, and pasted back with a soft edge.
Nothing outside of them changes. --box or --quad, and --text, may be repeated; the first text goes into the first place.
What comes out is new: PHOTO_edited.png, NAME_o_f.png or result.png, with -2, -3, ... where that is there already.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import _path  # noqa: F401  (finds ../common)
import fonts
import numpy as np
import ocr
import quads
from data import MULTIPLE, OUTPUTS, RANGE, resized, tightened
from PIL import Image
from tqdm import tqdm

from common import cli
from common.cli import UserError, notice
from common.config import add_device_flags, device_config
from common.images import decode, find_images, read_rgb, to_float, to_uint8

NETWORK = "SRNet"
SQUEEZED = 2  # times narrower than they were written are words where all samples are brought to one size
LONGEST = 32  # heights: the width of a crop that is still taken as one line of text
HERE = Path(__file__).resolve().parent


@dataclass
class Editor:
    """A trained generator, whatever runs it."""

    run: Callable  # from i_t and i_s, float32 [1, h, w, 3] in -1..1, to the four outputs
    options: argparse.Namespace  # of its training: `data_shape` and `tight_text`
    path: str  # its file, for messages
    size: Optional[tuple[int, int]] = None  # the only height and width that `run` takes; None: it takes any

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """The height and width at which the network sees a crop of some size: as in training, or wider where letters
        would be narrower than there.

        Raises:
            UserError: the crop is too long.
        """
        if width > LONGEST * height:
            told = f"a crop of {width} x {height} is more than {LONGEST} times as wide as high"
            raise UserError(f"{told}; edit it word by word")
        high, wide = self.options.data_shape
        return self.size or (high, max(wide, MULTIPLE * round(high * width / (SQUEEZED * height * MULTIPLE))))

    def generate(self, i_t: np.ndarray, i_s: np.ndarray) -> dict[str, np.ndarray]:
        """The word's skeleton, the styled word on grey, the background and the edited crop, by `OUTPUTS`' names: uint8
        [h, w, 3] (o_sk [h, w, 1]), at the size that `size_of` gives for i_s.

        Args:
            i_t, i_s: uint8 [any height, any width, 3]; i_t cut to its word where the training had it so.
        Raises:
            UserError: the crop is too long, or the network gives numbers that are not finite.
        """
        size = self.size_of(*i_s.shape[:2])
        outputs = self.run(*(to_float(resized(image, size)[None], RANGE) for image in (i_t, i_s)))
        if not all(np.isfinite(values).all() for values in outputs):
            raise UserError(f"{self.path} gives numbers that are not finite: its run diverged; use an earlier one")
        ranges = [(0.0, 1.0), RANGE, RANGE, RANGE]
        return {name: to_uint8(x[0], range_) for name, x, range_ in zip(OUTPUTS, outputs, ranges)}

    def edit(self, i_t: np.ndarray, i_s: np.ndarray) -> dict[str, np.ndarray]:
        """Writes another word into a crop: what `generate` gives, at the crop's own size.

        Args:
            i_t: the wanted word in a standard font, uint8 [any height, any width, 3].
            i_s: the crop, likewise of any size.
        Raises:
            UserError: as `generate`.
        """
        if getattr(self.options, "tight_text", False):
            i_t = tightened(i_t)
        return {name: resized(image, i_s.shape[:2]) for name, image in self.generate(i_t, i_s).items()}


def trained_editor(generator: Any, options: argparse.Namespace, path: str, device: str) -> Editor:
    """An editor of a Keras model that `model.build_generators` gives, compiled once for all sizes; on an NPU, which
    wants it so, for each size."""
    import tensorflow as tf

    spec = None if device == "npu" else [tf.TensorSpec([None, None, None, 3], tf.float32)] * 2

    @tf.function(input_signature=spec, autograph=False)
    def generate(i_t, i_s):
        return generator([i_t, i_s], training=False)[: len(OUTPUTS)]

    return Editor(lambda i_t, i_s: [x.numpy() for x in generate(tf.constant(i_t), tf.constant(i_s))], options, path)


def load_editor(ckpt_path: Optional[str] = None, device: str = "auto") -> Editor:
    """The generator of a checkpoint, a run or pretrained/; a session must be open."""
    from model import load_generator

    from common import weights

    loaded = weights.load(ckpt_path, NETWORK, HERE)
    return trained_editor(load_generator(loaded), loaded.options, loaded.path, device)


def exported_editor(path: str) -> Editor:
    """An export of a generator: .onnx, .pb, a SavedModel or .om."""
    from common.export import Exported

    model = Exported(path)
    sides = {name: len(shape) for name, shape in model.inputs.items()}
    if sides != {"i_t": 4, "i_s": 4} or not set(OUTPUTS) <= set(model.outputs):
        raise UserError(f"--model {path}: not SRNet's: its inputs are {', '.join(model.inputs)}")
    beside = Path(path).with_name("final.json")  # freeze.py's
    options = json.loads(beside.read_text()) if beside.is_file() else {}
    batch, height, width, _ = model.inputs["i_s"]
    size = (height, width) if height and width else None

    def run(i_t: np.ndarray, i_s: np.ndarray) -> list[np.ndarray]:
        outputs = model.run({"i_t": np.repeat(i_t, batch or 1, 0), "i_s": np.repeat(i_s, batch or 1, 0)})
        return [outputs[name][:1] for name in OUTPUTS]

    return Editor(run, argparse.Namespace(**{"data_shape": size or (64, 128), **options}), path, size)


def add_editor_flags(parser: argparse.ArgumentParser) -> None:
    """Adds what `open_editor` reads."""
    what = "a run's folder, or a file of weights (without: pretrained/)"
    parser.add_argument("--ckpt_path", "--checkpoint", metavar="PATH", help=what)
    parser.add_argument("--model", metavar="FILE", help="an export that runs instead: .onnx, .pb, a SavedModel or .om")
    add_device_flags(parser)


def open_editor(args: argparse.Namespace) -> Editor:
    """What --model or --ckpt_path names."""
    if args.model:
        return exported_editor(args.model)
    from common.session import open_session  # which needs TensorFlow, as an ONNX file does not

    return load_editor(args.ckpt_path, open_session(device_config(args)).device)


class Place(NamedTuple):
    """Where a word is in a photograph."""

    flag: str  # as it was given
    corners: np.ndarray  # as quads.py has them


def place(text: str) -> Place:
    """The type of --box, four numbers, and --quad, eight."""
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (4, 8) or not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"{text!r} is not 4 or 8 numbers with commas between them")
    if len(values) == 8:
        return Place(f"--quad={text}", np.reshape(values, (4, 2)))
    return Place(f"--box={text}", quads.of_box(*values))


def read_photo(path: str) -> Image.Image:
    """A photograph as L, RGB or RGBA, upright, with its colour profile in `info` where that fits."""
    photo = decode(path)
    profile = photo.info.get("icc_profile")
    kept = isinstance(profile, bytes) and profile[16:20] == (b"GRAY" if photo.mode == "L" else b"RGB ")
    photo.info = {"icc_profile": profile} if kept else {}
    return photo


def find_places(photo: Image.Image) -> list[tuple[Place, str]]:
    """The words that are found in a photograph, each with the flag that names its place.

    Raises:
        UserError: what finds them is not installed.
    """
    if not ocr.installed():
        raise UserError(f"say where the word is: --box=left,top,right,bottom; or to find it: {ocr.HOW_TO_GET_IT}")
    found = []
    for corners, text in ocr.Reader().find(photo.convert("RGB")):
        corners = corners.round().astype(int)
        ends = [*corners.min(0), *corners.max(0)]
        upright = np.abs(corners - quads.of_box(*ends)).max() <= 2
        found.append((place(",".join(map(str, ends if upright else corners.ravel()))), text))
    return found


def choose_place(photo: Image.Image, texts: Sequence[str]) -> Place:
    """The one word that is found.

    Raises:
        UserError: there is none, or several, which are listed, or no text to put there.
    """
    found = find_places(photo)
    if len(found) == 1 and texts:
        notice(f"found {found[0][1]!r} at {found[0][0].flag}")
        return found[0][0]
    for where, text in found:
        print(f"{where.flag}  {text}")
    if not found:
        raise UserError("no word was found: say where it is, --box=left,top,right,bottom")
    if len(found) == 1:
        raise UserError("1 word found: give --text=WORD, the new one")
    raise UserError(f"{len(found)} words found: give one of these flags, or --box, and --text=WORD for the new word")


def find_edits(photo: Image.Image, places: Sequence[Place], texts: Sequence[str], font: Any = None) -> list[tuple]:
    """What to write where: (corners, text, file of the standard font: `font`, or one that will do).

    Raises:
        UserError: a place that is not in the photograph, or a text that cannot be rendered.
    """
    edits = []
    for where, text in zip(places, texts):
        quads.check(where.corners, *photo.size, where.flag)
        edits.append((where.corners, text, fonts.standard_font(text, font)))
        fonts.standard_image(*edits[-1][1:], (8, 8))  # it can be rendered
    return edits


def edit_photo(editor: Editor, photo: Image.Image, edits: Sequence[tuple]) -> tuple[Image.Image, list[dict]]:
    """A photograph with all its words changed, in the mode it has (its alpha stays), and for each word what
    `Editor.edit` gives."""
    pixels, edited = np.asarray(photo.convert("RGB")), []
    for corners, text, font in edits:
        i_s = np.asarray(quads.cut(Image.fromarray(pixels), corners))
        height, width = i_s.shape[:2]
        high, _ = editor.size_of(height, width)
        i_t = fonts.standard_image(text, font, (high, max(8, round(high * width / height))))
        edited.append(editor.edit(i_t, i_s))
        pixels = quads.paste(pixels, edited[-1]["o_f"], corners)
    result = Image.fromarray(pixels).convert("L" if photo.mode == "L" else "RGB")
    if photo.mode == "RGBA":
        result.putalpha(photo.getchannel("A"))
    result.info = photo.info
    return result, edited


def predict_photo(args: argparse.Namespace) -> None:
    photo = read_photo(args.image)
    edits = find_edits(photo, args.places or [choose_place(photo, args.text)], args.text, args.font)
    editor = open_editor(args)
    result, edited = edit_photo(editor, photo, edits)
    stem = Path(args.image).stem
    for number, images in enumerate(edited, 1):
        for kind in OUTPUTS if args.save_mode == 1 else ():
            save(images[kind], args, f"{stem}_{number}_{kind}", args.image)
    save(result, args, f"{stem}_edited", args.image)
    notice(f"{'1 word' if len(edits) == 1 else f'{len(edits)} words'} changed by {editor.path}")


def find_pairs(folder: str) -> list[tuple[str, Path, Path]]:
    """(name, crop, wanted word) of all pairs in a folder, sorted.

    Raises:
        UserError: there is none, or one of a pair is missing.
    """
    files = {path.stem: path for path in find_images(Path(folder))}
    names = sorted({stem[:-4] for stem in files if stem.endswith(("_i_s", "_i_t"))})
    missing = [stem for name in names or ["NAME"] for stem in (f"{name}_i_s", f"{name}_i_t") if stem not in files]
    if missing:
        raise UserError(f"--input_dir {folder}: there is no {missing[0]}.png; give pairs NAME_i_s.png, NAME_i_t.png")
    return [(name, files[f"{name}_i_s"], files[f"{name}_i_t"]) for name in names]


def predict_crops(args: argparse.Namespace) -> None:
    if args.input_dir:
        pairs, suffixes = find_pairs(args.input_dir), {kind: f"_{kind}" for kind in OUTPUTS}
    else:  # result_sk.png, ..., result.png, as the original has it
        pairs, suffixes = [("result", args.i_s, args.i_t)], {"o_sk": "_sk", "o_t": "_t", "o_b": "_b", "o_f": ""}
    editor = open_editor(args)
    for name, i_s, i_t in tqdm(pairs, "generating", unit="", disable=None):
        edited = editor.edit(read_rgb(i_t), read_rgb(i_s))
        for kind in OUTPUTS if args.save_mode == 1 else ("o_f",):
            save(edited[kind], args, name + suffixes[kind], i_s)
    notice(f"{len(pairs)} crops edited by {editor.path}")


def save(image: Any, args: argparse.Namespace, name: str, source: Any) -> None:
    """Writes a new PNG file into --save_dir and says what it was made of."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    path = cli.new_file(Path(args.save_dir) / f"{name}.png")
    image.save(path)
    tqdm.write(f"{source}  {path}", file=sys.stdout)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    add_editor_flags(parser)
    parser.add_argument("--save_dir", "--output_path", default=".", metavar="DIR", help="where the images go")
    what = "0: the edited image alone, 1: skeleton, styled word and background too"
    parser.add_argument("--save_mode", type=int, choices=(0, 1), default=0, help=what)
    group = parser.add_argument_group("a photograph")
    group.add_argument("image", nargs="?", default=argparse.SUPPRESS, metavar="photo", help="the photograph")
    group.add_argument("--image", metavar="FILE", help="likewise")
    places = {"dest": "places", "action": "append", "default": []}
    group.add_argument("--box", type=place, metavar="L,T,R,B", help="left,top,right,bottom of a word", **places)
    group.add_argument("--quad", type=place, metavar="X,Y,...", help="its corners, clockwise from top left", **places)
    group.add_argument("--text", action="append", default=[], help="what to write there")
    group.add_argument("--font", metavar="FILE", help="the standard font (without: one that has the characters)")
    group = parser.add_argument_group("crops")
    group.add_argument("--i_s", metavar="FILE", help="the crop")
    group.add_argument("--i_t", metavar="FILE", help="the wanted word in a standard font, black on grey")
    group.add_argument("--input_dir", metavar="DIR", help="pairs NAME_i_s.png and NAME_i_t.png")
    args = parser.parse_args(argv)
    if [bool(args.image), bool(args.i_s or args.i_t), bool(args.input_dir)].count(True) != 1:
        parser.error("give one of a photograph (with --box or --quad, and --text), --i_s with --i_t, and --input_dir")
    if bool(args.i_s) != bool(args.i_t):
        parser.error("--i_s and --i_t go together: the crop, and the wanted word in a standard font")
    if len(args.places) != len(args.text) and (args.places or len(args.text) > 1):
        parser.error(f"{len(args.places)} of --box and --quad, and {len(args.text)} of --text; give one for each")
    return args


def main(argv: Optional[Sequence[str]] = None) -> int:
    args = parse_args(argv)
    return cli.run_main(predict_photo if args.image else predict_crops, args)


if __name__ == "__main__":
    cli.leave(main())
