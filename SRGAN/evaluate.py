"""Measures a trained SRGAN beside bicubic interpolation: PSNR and SSIM in three conventions, and sharpness.

python SRGAN/evaluate.py --ckpt_path=SRGAN/test/output/0
python SRGAN/evaluate.py --ckpt_path=gen_model500.h5 --sets Set5=data/Set5 Set14=data/Set14 --weights=VGG19.h5
python SRGAN/evaluate.py --sets Set14=data/Set14          no model: bicubic alone, to check the scorer by known numbers

Originals are cropped to a multiple of the scale (top left) and made smaller by antialiased bicubic; what is enlarged
from that is compared with them. metrics.py tells the conventions; y shaves as many pixels as the scale says, 4 at x4.
PSNR and SSIM reward what is blurred, hence `blur`, 0 for sharp to 1, of each picture by itself; and, with the weights
of VGG19, `vgg`, the distance in the features that the content loss is made of.

A new folder, `evaluation` or `evaluation-2`, ..., takes the enlarged pictures, evaluation.json and gallery.html.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Optional, Union

import _path  # noqa: F401  (finds ../common)
import baseline
import data
import metrics
import numpy as np
import tensorflow as tf
import trained
from model import SCALES
from PIL import Image
from tensorflow import keras
from tqdm import tqdm

from common import cli
from common.cli import UserError
from common.gallery import Row, write_gallery
from common.pictures import to_uint8
from common.pretrained import VGG19_FILE, build_vgg19, float32_layers, load_weights, vgg19_input
from common.session import add_device_flags, device_config, notice, open_session

PAPER = {  # table 2, x4: by name and number of pictures. Its SSIM is another program's: see metrics.py
    ("set5", 5): {"SRResNet (paper)": (32.05, 0.9019), "SRGAN (paper)": (29.40, 0.8472)},
    ("set14", 14): {"SRResNet (paper)": (28.49, 0.8184), "SRGAN (paper)": (26.02, 0.7397)},
    ("bsd100", 100): {"SRResNet (paper)": (27.58, 0.7620), "SRGAN (paper)": (25.16, 0.6688)},
}
SHOWN = 256  # pixels: side of the part of a picture that the gallery shows
BLOCK = 512  # pixels: side of the parts that VGG19 looks at, for its memory
FEATURE_SCALE = 1 / 12.75  # section 3.2

Distance = Callable[[np.ndarray, np.ndarray], float]


def evaluate_run(
    args: argparse.Namespace,
    generator: keras.Model,
    files: Sequence[Path],
    folder: Union[str, Path, None] = None,
) -> tuple[dict[str, float], dict[str, float]]:
    """The mean metrics of a generator and of bicubic interpolation.

    Args:
        args: of train.py, or a run's options.
        files: originals of any size and kind; those that cannot be used are left out, with a notice.
        folder: takes the pictures, evaluation.json and gallery.html; <folder>-2, ... where it is there already.
    Returns:
        {`metrics.NAMES`, "blur", "pictures"} of the generator, and the same of bicubic.
    Raises:
        UserError: none of the files can be used.
    """
    files = usable(files, args.scale)
    folder = cli.new_folder(folder) if folder else None
    model = SimpleNamespace(generator=generator, options=args)
    rows = measure(model, args.scale, files, folder and folder / "pictures")
    if folder:
        write_results(folder, args.scale, {"held-out": rows}, {"data": os.path.abspath(args.data_path)})
    values = {method: {**row, "pictures": len(files)} for method, row in means(rows).items()}
    return values["model"], values["bicubic"]


def usable(files: Sequence[Path], scale: int, skip_bad_files: bool = True) -> list[Path]:
    """The files that decode and are large enough to be measured; tells which are not.

    Raises:
        UserError: one is not, where those are not skipped, or none is.
    """
    good, bad = [], []
    for path in tqdm(files, "reading", unit="", disable=None):
        try:
            original(path, scale)
        except UserError as error:
            if not skip_bad_files:
                raise
            bad.append(str(error))
        else:
            good.append(path)
    if bad:
        notice(f"{len(bad)} of {len(files)} pictures left out: {'; '.join(bad[:5])}")
    if not good:
        raise UserError("none of the pictures can be measured")
    return good


def original(path: Path, scale: int) -> np.ndarray:
    """A picture file as uint8 [h, w, 3], its sides multiples of `scale`.

    Raises:
        UserError: it does not decode, or is too small to be measured.
    """
    picture = baseline.crop(data.read_rgb(path), scale)
    least = metrics.WINDOW + 2 * scale
    if min(picture.shape[:2]) < least:
        raise UserError(f"{path}: too small to be measured at x{scale}; it takes {least} pixels a side")
    return picture


def measure(
    model: Optional[Any],
    scale: int,
    files: Sequence[Path],
    folder: Optional[Path] = None,
    distance: Optional[Distance] = None,
) -> list[dict[str, Any]]:
    """Each picture's metrics.

    Args:
        model: what `trained.enlarge` takes; None measures bicubic alone.
        folder: takes the model's pictures.
        distance: of an enlarged picture and its original.
    Returns:
        [{"file", "output": the model's picture or None, "bicubic": {...}, "model": {...}, "original": {"blur"}}, ...]
    """
    rows = []
    for path in tqdm(files, "measuring", unit="", disable=None):
        target = original(path, scale)
        small = baseline.shrink(target, scale)
        row = {"file": str(path), "output": None}
        pictures = {"bicubic": baseline.enlarge(small, scale)}
        if model:
            pictures["model"] = to_uint8(trained.enlarge(model, small), (0.0, 1.0))
            row["output"] = folder and save_picture(pictures["model"], folder / f"{path.stem}.png")
        for method, picture in pictures.items():
            row[method] = {**metrics.compare(picture, target, scale), "blur": metrics.blur(picture)}
            if distance:
                row[method]["vgg"] = distance(picture, target)
        row["original"] = {"blur": metrics.blur(target)}
        rows.append(row)
    return rows


def save_picture(picture: np.ndarray, path: Path) -> str:
    """Writes a uint8 picture [h, w, 3] to a new file and returns its path."""
    path = cli.new_file(path)
    Image.fromarray(picture).save(path)
    return str(path)


def means(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The mean of each metric of "bicubic", "model" (where there is one) and "original"."""
    methods = [method for method in ("bicubic", "model", "original") if method in rows[0]]
    return {
        method: {name: float(np.mean([row[method][name] for row in rows])) for name in rows[0][method]}
        for method in methods
    }


def feature_distance(weights: str) -> Distance:
    """A function of two uint8 pictures [h, w, 3]: the mean squared difference of their features, equation 5.

    The features are those of VGG19's block5_conv4, divided by 12.75. Of large pictures the mean is
    taken in blocks, which count by their areas.

    Raises:
        UserError: the weights are missing, damaged, or of another network.
    """
    with float32_layers():
        network = build_vgg19()
    load_weights(network, weights, "vgg19", f"give Keras' {VGG19_FILE}")
    signature = [tf.TensorSpec([None, None, None, 3], tf.uint8)]
    extract = tf.function(lambda pictures: network(vgg19_input(pictures), training=False), input_signature=signature)

    def distance(picture: np.ndarray, target: np.ndarray) -> float:
        total = 0.0
        for rows in parts(target.shape[0]):
            for columns in parts(target.shape[1]):
                both = np.stack([x[rows, columns] for x in (picture, target)])
                x, y = extract(tf.constant(both)).numpy() * FEATURE_SCALE
                total += float(np.square(x - y).mean()) * both[0].size
        return total / target.size

    return distance


def parts(side: int) -> list[slice]:
    """A side in parts of about the same length, at most BLOCK."""
    count = -(-side // BLOCK)
    edges = [number * side // count for number in range(count + 1)]
    return [slice(start, end) for start, end in zip(edges, edges[1:])]


def write_results(
    folder: Path,
    scale: int,
    results: dict[str, list[dict[str, Any]]],
    about: dict[str, Any],
) -> dict[str, Any]:
    """Writes evaluation.json and gallery.html beside the pictures of `measure`, and returns what the former holds."""
    result = {
        **about,
        "scale": scale,
        "conventions": {"y": f"16 to 235, {scale} pixels shaved", "rgb": "whole", "y_full": "0 to 255, whole"},
        "sets": {
            name: {"pictures": len(rows), "metrics": means(rows), "per_picture": rows} for name, rows in results.items()
        },
    }
    (folder / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    total = sum(map(len, results.values()))
    table = {f"{name}: {method}": row for name, rows in results.items() for method, row in means(rows).items()}
    title = f"SRGAN: {total} pictures, x{scale}; their parts of most detail"
    rows = gallery_rows(results, scale)
    shown = write_gallery(folder / "gallery.html", title, table, rows, total, "psnr_y", largest_first=True)
    part = "" if shown == total else f", with the first {shown} pictures: more would make it too large"
    notice(f"wrote {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}{part}")
    return result


def gallery_rows(results: dict[str, list[dict[str, Any]]], scale: int) -> Iterator[Row]:
    for name, rows in results.items():
        for row in rows:
            target = original(Path(row["file"]), scale)
            small = baseline.shrink(target, scale)
            pictures = {"small": small.repeat(scale, 0).repeat(scale, 1), "bicubic": baseline.enlarge(small, scale)}
            if row["output"]:
                with Image.open(row["output"]) as picture:
                    pictures["model"] = np.asarray(picture)
            pictures["original"] = target
            part = most_detail(target, scale)
            columns = [(heading, picture[part]) for heading, picture in pictures.items()]
            scores = {**row.get("model", row["bicubic"]), "psnr_y of bicubic": row["bicubic"]["psnr_y"]}
            yield Row(f"{name}: {Path(row['file']).name}", columns, scores)


def most_detail(picture: np.ndarray, step: int) -> tuple[slice, slice]:
    """Where a picture [h, w, 3] varies most: a square of SHOWN pixels, or the whole side where that is shorter.

    It starts at a multiple of `step`, and sums of absolute differences between neighbours decide.
    """
    luma = metrics.full_luma(picture)
    edges = np.abs(np.diff(luma, axis=0, append=luma[-1:])) + np.abs(np.diff(luma, axis=1, append=luma[:, -1:]))
    sums = np.pad(edges.cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # of all that is above and to the left
    height, width = (min(SHOWN, side) for side in luma.shape)
    tops = np.arange(0, luma.shape[0] - height + 1, step)[:, None]
    lefts = np.arange(0, luma.shape[1] - width + 1, step)
    within = sums[tops + height, lefts + width] - sums[tops, lefts + width]
    within += sums[tops, lefts] - sums[tops + height, lefts]
    row, column = np.unravel_index(within.argmax(), within.shape)
    top, left = int(tops[row, 0]), int(lefts[column])
    return slice(top, top + height), slice(left, left + width)


def table_lines(name: str, rows: Sequence[dict[str, Any]], scale: int) -> Iterator[str]:
    """A set's results for the terminal: what each picture has, the means, and what the paper printed."""
    values = means(rows)
    methods = [method for method in ("bicubic", "model") if method in values]
    yield f"{name}: {len(rows)} pictures, x{scale}; psnr_y / ssim_y of each:"
    for row in rows:
        scores = "".join(f"   {m} {row[m]['psnr_y']:6.2f} / {row[m]['ssim_y']:.4f}" for m in methods)
        yield f"  {Path(row['file']).name.encode('utf-8', 'replace').decode():24}{scores}"
    names = list(values["bicubic"])
    yield f"{'means':18}" + "".join(f"{name:>12}" for name in names)
    published = PAPER.get((name.lower(), len(rows)), {}) if scale == 4 else {}
    values.update({method: {"psnr_y": psnr, "ssim_y": ssim} for method, (psnr, ssim) in published.items()})
    for method, row in values.items():
        cells = (f"{row[name]:.{2 if name.startswith('psnr') else 4}f}" if name in row else "" for name in names)
        yield (f"{method:18}" + "".join(f"{cell:>12}" for cell in cells)).rstrip()


def named_folder(text: str) -> tuple[str, Path]:
    """A flag's `type`: NAME=DIR."""
    name, _, folder = text.partition("=")
    if not name or not folder or Path(name).name != name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR, such as Set14=data/Set14")
    return name, Path(folder).expanduser()


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", metavar="PATH", help="a run's folder, a checkpoint in it, or a model's .h5 file")
    parser.add_argument("--data_path", metavar="DIR", help="a training set, of which val/ is measured (the run's own)")
    parser.add_argument("--sets", type=named_folder, nargs="+", metavar="NAME=DIR", help="known sets, each whole")
    parser.add_argument("--scale", type=int, choices=SCALES, help="the model's own; without a model 4, or what you say")
    parser.add_argument("--max_pictures", type=cli.in_range(int, 1), metavar="N", help="the first N of each set (all)")
    parser.add_argument("--weights", metavar="FILE", help="of VGG19, as Keras publishes them: adds the column vgg")
    parser.add_argument("--output_path", metavar="DIR", help="a new folder for the results (evaluation in the run's)")
    cli.add_boolean(parser, "--skip_bad_files", False, "leave out and count pictures that cannot be measured (False)")
    add_device_flags(parser)
    args = parser.parse_args(argv)
    if not (args.ckpt_path or args.data_path or args.sets):
        parser.error("give --ckpt_path PATH, or --sets NAME=DIR to measure bicubic alone")
    return args


def picture_sets(args: argparse.Namespace, options: argparse.Namespace) -> dict[str, list[Path]]:
    """The files to measure on, by set: the named sets, and where data is named or nothing is, its held-out pictures.

    Raises:
        UserError: there is no such folder, or no picture in it.
    """
    named = args.sets or []
    sets = {name: find(f"--sets {name}={folder}", folder) for name, folder in named}
    if len(sets) < len(named):
        raise UserError(f"--sets: two of one name among {', '.join(name for name, _ in named)}; give each its own")
    own = getattr(options, "data_path", None)
    path = args.data_path or (None if sets else own)
    if path:
        sets = {"held-out": held_out(path, options if path == own else None), **sets}
    if not sets:
        raise UserError(f"{args.ckpt_path} does not tell its data; name pictures with --data_path or --sets")
    return {name: files[: args.max_pictures] for name, files in sets.items()}


def held_out(path: str, options: Optional[argparse.Namespace]) -> list[Path]:
    """The pictures that a training on the folder does not see: those in val/, else of a run's own data as it was split,
    else, since nothing was trained on the folder, all of them."""
    folder = Path(path).expanduser()
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        return find("--data_path", folder / "val")
    return data.split(options)[1] if options else find("--data_path", folder)


def find(flag: str, folder: Path) -> list[Path]:
    """The pictures in a folder that a flag names, and below it.

    Raises:
        UserError: there is none.
    """
    try:
        return data.find_pictures(folder)
    except UserError:
        raise UserError(f"{flag}: no pictures in {folder} or below it") from None


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluates a model, prints the metrics and writes the results to a new folder.

    Returns: what evaluation.json holds.
    Raises:
        UserError: no such model, pictures or weights, or a scale that is not the model's.
    """
    open_session(device_config(args))
    distance = feature_distance(args.weights) if args.weights else None
    model = trained.load(args.ckpt_path) if args.ckpt_path else None
    options = model.options if model else argparse.Namespace(scale=args.scale or 4)
    if args.scale not in (None, options.scale):
        raise UserError(f"--scale {args.scale}: {args.ckpt_path} enlarges {options.scale} times; leave --scale out")
    files = picture_sets(args, options)
    sets = {name: usable(some, options.scale, args.skip_bad_files) for name, some in files.items()}
    folder = cli.new_folder(args.output_path or (model.run_folder / "evaluation" if model else "evaluation"))
    results = {}
    for name, files in sets.items():
        results[name] = measure(model, options.scale, files, folder / "pictures" / name, distance)
        print(*table_lines(name, results[name], options.scale), sep="\n", flush=True)
    about = {
        "model": model and os.path.abspath(model.prefix),
        "weights": args.weights and os.path.abspath(args.weights),
    }
    return write_results(folder, options.scale, results, about)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(evaluate, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
