"""Changes words in photographs with a trained SRNet, whole photographs or crops of a word.

python SRNet/predict.py --ckpt_path=RUN --save_dir=edited --image=photo.jpg --box=40,60,210,120 --text=HELLO
python SRNet/predict.py --ckpt_path=RUN --save_dir=edited --image=sign.png --quad=10,20,200,5,205,80,12,90 --text=NORTH
python SRNet/predict.py --ckpt_path=RUN --save_dir=edited --image=sign.png --font=Some.ttf --text=Süd --text=Ναί \\
    --box=30,100,180,150 --box=30,160,180,210
python SRNet/predict.py --ckpt_path=RUN --save_dir=edited --i_s=crop.png --i_t=word.png --save_mode=1
python SRNet/predict.py --ckpt_path=RUN --save_dir=edited --input_dir=labels

Of a photograph, each --box (left,top,right,bottom) or --quad (four corners, clockwise from the text's top left) is cut
out upright with the word in it, edited, and pasted back with a soft edge; leave a little room round the word. Nothing
outside of them changes. Pixels count from the top left of the picture as it is shown. --box or --quad, and --text, may
be repeated; the first text goes into the first place.

Of crops, --i_t is the wanted word in a standard font, black on grey; --input_dir has pairs NAME_i_s.png, NAME_i_t.png.

What comes out is new: PHOTO.png, NAME_o_f.png or result.png, with -2, -3, ... where that is there already.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import _path  # noqa: F401  (finds ../common)
import fonts
import numpy as np
import quads
import trained
from data import resized
from PIL import Image
from tqdm import tqdm

from common import cli
from common.cli import UserError
from common.pictures import decode, find_pictures, read_rgb
from common.session import add_device_flags, device_config, notice, open_session

SHORT = {"o_sk": "_sk", "o_t": "_t", "o_b": "_b", "o_f": ""}  # result_sk.png, ..., result.png, as the original has it
INPUTS = ("_i_s", "_i_t")


class Place(NamedTuple):
    """Where a word is in a photograph."""

    flag: str  # as it was given
    corners: np.ndarray  # as quads.py has them


class Edit(NamedTuple):
    """What to write where."""

    place: Place
    text: str
    font: Path


def numbers(text: str, count: int) -> list[float]:
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count or not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"{text!r} is not {count} numbers with commas between them")
    return values


def box(text: str) -> Place:
    """`--box`'s type."""
    left, top, right, bottom = numbers(text, 4)
    if left >= right or top >= bottom:
        raise argparse.ArgumentTypeError(f"{text} is empty: give left,top,right,bottom")
    return Place(f"--box {text}", quads.of_box(left, top, right, bottom))


def quad(text: str) -> Place:
    """`--quad`'s type."""
    return Place(f"--quad {text}", np.reshape(numbers(text, 8), (4, 2)))


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = "a run's folder, or one checkpoint in it"
    parser.add_argument("--ckpt_path", "--checkpoint", required=True, metavar="PATH", help=what)
    what = "where the pictures go"
    parser.add_argument("--save_dir", "--output_path", required=True, metavar="DIR", help=what)
    what = "0: the edited picture alone, 1: skeleton, styled word and background too (0)"
    parser.add_argument("--save_mode", type=int, choices=(0, 1), default=0, help=what)
    group = parser.add_argument_group("a photograph")
    group.add_argument("--image", metavar="FILE", help="the photograph")
    places = {"dest": "places", "action": "append", "default": []}
    group.add_argument("--box", type=box, metavar="X0,Y0,X1,Y1", help="where a word is", **places)
    group.add_argument("--quad", type=quad, metavar="X0,Y0,...,Y3", help="likewise, seen at an angle", **places)
    group.add_argument("--text", action="append", default=[], help="what to write there")
    what = "the standard font's file, one for all or one for each text (one at hand that has the characters)"
    group.add_argument("--font", action="append", default=[], metavar="FILE", help=what)
    group = parser.add_argument_group("crops")
    group.add_argument("--i_s", metavar="FILE", help="the crop")
    group.add_argument("--i_t", metavar="FILE", help="the wanted word in a standard font")
    group.add_argument("--input_dir", metavar="DIR", help="pairs NAME_i_s.png and NAME_i_t.png")
    add_device_flags(parser)
    args = parser.parse_args(argv)
    if [bool(args.image), bool(args.i_s or args.i_t), bool(args.input_dir)].count(True) != 1:
        parser.error("give one of --image (with --box or --quad, and --text), --i_s with --i_t, and --input_dir")
    if bool(args.i_s) != bool(args.i_t):
        parser.error("--i_s and --i_t go together: the crop, and the wanted word in a standard font")
    if not args.image and (args.places or args.text or args.font):
        parser.error("--box, --quad, --text and --font go with --image")
    if args.image and not len(args.places) == len(args.text) > 0:
        parser.error(
            f"--image: {len(args.places)} of --box and --quad, and {len(args.text)} of --text; give one for each"
        )
    if len(args.font) not in (0, 1, len(args.text)):
        parser.error(f"--font: {len(args.font)} fonts for {len(args.text)} texts; give one, or one for each")
    return args


# A photograph.


def read_photo(path: str) -> Image.Image:
    """A photograph as L, RGB or RGBA, upright, with its colour profile in `info` where that fits.

    Raises:
        UserError: it does not decode, is too large or has more than 8 bits a channel.
    """
    photo = decode(path)
    profile = photo.info.get("icc_profile")
    kept = isinstance(profile, bytes) and profile[16:20] == (b"GRAY" if photo.mode == "L" else b"RGB ")
    photo.info = {"icc_profile": profile} if kept else {}
    return photo


def find_edits(args: argparse.Namespace, photo: Image.Image) -> list[Edit]:
    """What the flags ask for.

    Raises:
        UserError: a place that is not in the photograph, or a text that cannot be drawn.
    """
    edits = []
    chosen = args.font * len(args.text) if len(args.font) == 1 else args.font or [None] * len(args.text)
    for place, text, font in zip(args.places, args.text, chosen):
        quads.check(place.corners, *photo.size, place.flag)
        font = fonts.standard_font(text, font)
        fonts.standard_picture(text, font, (8, 8))  # it can be drawn
        edits.append(Edit(place, text, font))
    return edits


def colours(photo: Image.Image, corners: np.ndarray) -> np.ndarray:
    """A quadrangle of a photograph as an upright crop, uint8 [h, w, 3]: grey repeated, alpha left out."""
    return np.asarray(quads.cut(photo.convert("RGB"), corners))


def replaced(photo: Image.Image, crop: np.ndarray, corners: np.ndarray) -> Image.Image:
    """A photograph, in the mode it has, with a crop [h, w, 3] pasted in; its alpha stays."""
    pixels = np.array(photo)
    if photo.mode == "L":
        grey = np.asarray(Image.fromarray(crop).convert("L"))
        pixels = quads.paste(pixels[..., None], grey[..., None], corners)[..., 0]
    else:
        pixels[..., :3] = quads.paste(pixels[..., :3], crop, corners)
    result = Image.fromarray(pixels)
    result.info = photo.info
    return result


def edit_photo(model: trained.Trained, photo: Image.Image, edits: Sequence[Edit]) -> tuple[Image.Image, list[dict]]:
    """A photograph with all its words changed, and for each the four pictures as `trained.edit` gives them, at the
    crop's size."""
    drawn = []
    for edit in edits:
        i_s = colours(photo, edit.place.corners)
        height, width = i_s.shape[:2]
        high = model.options.data_shape[0]
        i_t = fonts.standard_picture(edit.text, edit.font, (high, max(8, round(high * width / height))))
        if height > 2 * high:
            notice(f"{edit.place.flag}: the network draws {high} pixels high, so at {height} the word will look soft")
        drawn.append(edit_crop(model, i_t, i_s))
        photo = replaced(photo, drawn[-1]["o_f"], edit.place.corners)
    return photo, drawn


# Crops.


def edit_crop(model: trained.Trained, i_t: np.ndarray, i_s: np.ndarray) -> dict[str, np.ndarray]:
    """`trained.edit` with its results at the crop's size."""
    return {name: resized(picture, i_s.shape[:2]) for name, picture in trained.edit(model, i_t, i_s).items()}


def find_pairs(folder: str) -> list[tuple[str, Path, Path]]:
    """(name, crop, wanted word) of all pairs in a folder, sorted.

    Raises:
        UserError: there is none, or one of a pair is missing.
    """
    if not Path(folder).is_dir():
        raise UserError(f"--input_dir {folder}: there is no such folder")
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(find_pictures(Path(folder))):
        name, kind = path.stem[:-4], path.stem[-4:]
        if kind in INPUTS:
            found.setdefault(name, {})[kind] = path
    if not found:
        raise UserError(f"--input_dir {folder}: the folder holds no pairs NAME_i_s.png and NAME_i_t.png")
    for name, pair in found.items():
        for kind in INPUTS:
            if kind not in pair:
                raise UserError(
                    f"--input_dir {folder}: {next(iter(pair.values())).name} has no {name}{kind}.png beside it"
                )
    return [(name, *(pair[kind] for kind in INPUTS)) for name, pair in sorted(found.items())]


# The command.


def save(picture: Any, args: argparse.Namespace, name: str) -> Path:
    """Writes a new PNG file into --save_dir."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    path = cli.new_file(Path(args.save_dir) / f"{name}.png")
    picture.save(path, format="PNG")
    return path


def save_drawn(drawn: dict[str, np.ndarray], args: argparse.Namespace, names: dict[str, str]) -> Iterator[Path]:
    """Writes what --save_mode asks for of an edited crop, by the names given, o_f last."""
    for kind, name in names.items():
        if args.save_mode == 1 or kind == "o_f":
            yield save(drawn[kind], args, name)


def predict_photo(args: argparse.Namespace) -> None:
    photo = read_photo(args.image)
    edits = find_edits(args, photo)
    open_session(device_config(args))
    model = trained.load(args.ckpt_path)
    for edit in edits:
        trained.network_size(model.options, *quads.upright_size(edit.place.corners))
        if photo.mode == "RGBA" and np.asarray(quads.cut(photo.getchannel("A"), edit.place.corners)).min() < 255:
            notice(f"{edit.place.flag}: transparent in places, and stays so: there the new word cannot be seen")
    result, drawn = edit_photo(model, photo, edits)
    stem = Path(args.image).stem
    if args.save_mode == 1:
        for number, pictures in enumerate(drawn, 1):
            for path in save_drawn(pictures, args, {kind: f"{stem}_{number}_{kind}" for kind in trained.OUTPUTS}):
                print(f"{args.image}  {path}")
    print(f"{args.image}  {save(result, args, stem)}")
    notice(f"{len(edits)} words changed by {model.prefix}")


def predict_crops(args: argparse.Namespace) -> None:
    if args.input_dir:
        pairs = find_pairs(args.input_dir)
        suffixes = {kind: f"_{kind}" for kind in trained.OUTPUTS}
    else:
        pairs, suffixes = [("result", Path(args.i_s), Path(args.i_t))], SHORT
    for _, *files in tqdm(pairs, "reading", unit="", disable=None):
        for path in files:  # all are looked at before anything is written
            read_rgb(path)
    open_session(device_config(args))
    model = trained.load(args.ckpt_path)
    for name, i_s, i_t in tqdm(pairs, "drawing", unit="", disable=None):
        drawn = edit_crop(model, read_rgb(i_t), read_rgb(i_s))
        for path in save_drawn(drawn, args, {kind: name + suffix for kind, suffix in suffixes.items()}):
            tqdm.write(f"{i_s}  {path}", file=sys.stdout)
    notice(f"{len(pairs)} crops edited by {model.prefix}")


def predict(args: argparse.Namespace) -> None:
    """Edits what the flags name, and prints what became of it.

    Raises:
        UserError: no such checkpoint or picture, one that cannot be used, a place that is not in the photograph, a text
            that no font has, a folder that cannot be written.
    """
    (predict_photo if args.image else predict_crops)(args)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(predict, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
