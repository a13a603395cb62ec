"""Measures a trained SRGAN beside bicubic interpolation: PSNR and SSIM in three conventions, and sharpness.

python SRGAN/evaluate.py --sets Set5=data/Set5 Set14=data/Set14 --vgg19_weights=FILE    the weights in pretrained/
python SRGAN/evaluate.py --ckpt_path=RUN                        a run on its held-out images
python SRGAN/evaluate.py --model=exported/generator.onnx --sets Set14=data/Set14 --degradation=photo
python SRGAN/evaluate.py --bicubic --sets Set14=data/Set14      bicubic alone, to check the scorer by known numbers

Originals are cropped to a multiple of the scale (top left) and made smaller by antialiased bicubic; what is enlarged
from that is compared with them. metrics.py tells the conventions; y shaves as many pixels as the scale says, 4 at x4.
PSNR and SSIM reward what is blurred, hence `blur`, 0 for sharp to 1, of each image by itself; and, with the weights of
VGG19, `vgg`, the distance in the features that the content loss is made of.

A new folder, `evaluation` or `evaluation-2`, ..., takes the enlarged images, evaluation.json and page.html.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, Optional, Union

import _path  # noqa: F401  (finds ../common)
import baseline
import data
import metrics
import numpy as np
import predict
from enlarger import Enlarger
from model import SCALES
from PIL import Image
from tqdm import tqdm

from common import cli
from common.cli import UserError, notice
from common.images import read_rgb, to_uint8, write_page
from common.weights import run_folder

PAPER = {  # table 2, x4: by name and number of images. Its SSIM is another program's: see metrics.py
    ("set5", 5): {"SRResNet (paper)": (32.05, 0.9019), "SRGAN (paper)": (29.40, 0.8472)},
    ("set14", 14): {"SRResNet (paper)": (28.49, 0.8184), "SRGAN (paper)": (26.02, 0.7397)},
    ("bsd100", 100): {"SRResNet (paper)": (27.58, 0.7620), "SRGAN (paper)": (25.16, 0.6688)},
}
SHOWN = 256  # pixels: size of the part of an image that the page shows
BLOCK = 512  # pixels: size of the parts that VGG19 looks at, for its memory
FEATURE_SCALE = 1 / 12.75  # section 3.2

Distance = Callable[[np.ndarray, np.ndarray], float]


# One image.


def original(path: Path, scale: int) -> np.ndarray:
    """An image file as uint8 [h, w, 3], its height and width multiples of `scale`.

    Raises:
        UserError: it does not decode, or is too small to be measured.
    """
    hr = baseline.crop(read_rgb(path), scale)
    least = metrics.WINDOW + 2 * scale
    if min(hr.shape[:2]) < least:
        raise UserError(f"{path}: too small to be measured at x{scale}; it takes {least} pixels in height and width")
    return hr


def pair(options: argparse.Namespace, path: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
    """lr and hr of a file, uint8 [h, w, 3] and [scale h, scale w, 3]; `number` tells the files of a set apart.

    Args:
        options: `scale`, `degradation`, `lr_path`, and `data_path` and `seed` where these need them.
    """
    hr = original(path, options.scale)
    if options.lr_path:
        return data.read_pair(options, path)
    return data.low_resolution(options, hr, np.random.default_rng([options.seed, number])), hr


def usable(options: argparse.Namespace, files: Sequence[Path], skip_bad_files: bool = True) -> list[Path]:
    """The files that decode and are large enough to be measured; tells which are not.

    Raises:
        UserError: one is not, where those are not skipped, or none is.
    """
    good, bad = [], []
    for number, path in enumerate(tqdm(files, "reading", unit="", disable=None)):
        try:
            pair(options, path, number)
        except UserError as error:
            if not skip_bad_files:
                raise
            bad.append(str(error))
        else:
            good.append(path)
    if bad:
        notice(f"{len(bad)} of {len(files)} images left out: {'; '.join(bad[:5])}")
    if not good:
        raise UserError("none of the images can be measured")
    return good


def measure(
    options: argparse.Namespace,
    network: Optional[Enlarger],
    files: Sequence[Path],
    folder: Optional[Path] = None,
    distance: Optional[Distance] = None,
) -> list[dict[str, Any]]:
    """Each image's metrics.

    Args:
        options: as `pair` has them.
        network: None measures bicubic alone.
        folder: takes the network's images.
        distance: of an enlarged image and its original.
    Returns:
        [{"file", "output": the enlarged file or None, "bicubic": {...}, "model": {...}, "original": {"blur"}}, ...]
    """
    rows = []
    for number, path in enumerate(tqdm(files, "measuring", unit="", disable=None)):
        lr, hr = pair(options, path, number)
        row = {"file": str(path), "output": None}
        results = {"bicubic": baseline.enlarge(lr, options.scale)}
        if network:
            results["model"] = to_uint8(network.enlarge(lr), (0.0, 1.0))
            row["output"] = folder and save_image(results["model"], folder / f"{path.stem}.png")
        for method, image in results.items():
            row[method] = {**metrics.compare(image, hr, options.scale), "blur": metrics.blur(image)}
            if distance:
                row[method]["vgg"] = distance(image, hr)
        row["original"] = {"blur": metrics.blur(hr)}
        rows.append(row)
    return rows


def save_image(image: np.ndarray, path: Path) -> str:
    """Writes a uint8 image [h, w, 3] to a new file and returns its path."""
    path = cli.new_file(path)
    Image.fromarray(image).save(path)
    return str(path)


def feature_distance(weights: str) -> Distance:
    """A function of two uint8 images [h, w, 3]: the mean squared difference of their features, equation 5.

    The features are those of VGG19's block5_conv4, divided by 12.75. Of large images the mean is taken in blocks, which
    count by their areas.

    Raises:
        UserError: the weights are missing, damaged, or of another network.
    """
    import tensorflow as tf

    from common.vgg19 import build_vgg19, vgg19_input

    network = build_vgg19(weights, ["block5_conv4"])
    signature = [tf.TensorSpec([None, None, None, 3], tf.uint8)]
    extract = tf.function(lambda images: network(vgg19_input(images), training=False), input_signature=signature)

    def distance(image: np.ndarray, hr: np.ndarray) -> float:
        total = 0.0
        for rows in parts(hr.shape[0]):
            for columns in parts(hr.shape[1]):
                both = np.stack([x[rows, columns] for x in (image, hr)])
                x, y = extract(tf.constant(both)).numpy() * FEATURE_SCALE
                total += float(np.square(x - y).mean()) * both[0].size
        return total / hr.size

    return distance


def parts(length: int) -> list[slice]:
    """A height or width in parts of about the same length, at most BLOCK."""
    count = -(-length // BLOCK)
    edges = [number * length // count for number in range(count + 1)]
    return [slice(start, end) for start, end in zip(edges, edges[1:])]


# Sets of images.


def evaluate_run(
    args: argparse.Namespace, network: Enlarger, files: Sequence[Path], folder: Union[str, Path]
) -> tuple[dict[str, float], dict[str, float]]:
    """The mean metrics of a training's generator and of bicubic interpolation.

    Args:
        args: of train.py.
        files: originals of any size and kind; those that cannot be used are left out, with a notice.
        folder: takes the images, evaluation.json and page.html; <folder>-2, ... where it is there already.
    Returns:
        {`metrics.NAMES`, "blur", "images"} of the generator, and the same of bicubic.
    Raises:
        UserError: none of the files can be used.
    """
    files = usable(args, files)
    folder = cli.new_folder(folder)
    rows = measure(args, network, files, folder / "images")
    write_results(folder, args, {"held-out": rows}, {"data": os.path.abspath(args.data_path)})
    values = {method: {**row, "images": len(files)} for method, row in means(rows).items()}
    return values["model"], values["bicubic"]


def means(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The mean of each metric of "bicubic", "model" (where there is one) and "original"."""
    methods = [method for method in ("bicubic", "model", "original") if method in rows[0]]
    return {
        method: {name: float(np.mean([row[method][name] for row in rows])) for name in rows[0][method]}
        for method in methods
    }


def write_results(
    folder: Path,
    options: argparse.Namespace,
    results: dict[str, list[dict[str, Any]]],
    about: dict[str, Any],
) -> dict[str, Any]:
    """Writes evaluation.json and page.html beside the images of `measure`, and returns what the former holds."""
    scale = options.scale
    result = {
        **about,
        "scale": scale,
        "degradation": options.lr_path or options.degradation,
        "conventions": {"y": f"16 to 235, {scale} pixels shaved", "rgb": "whole", "y_full": "0 to 255, whole"},
        "sets": {
            name: {"images": len(rows), "metrics": means(rows), "per_image": rows} for name, rows in results.items()
        },
    }
    (folder / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    table = {f"{name}: {method}": row for name, rows in results.items() for method, row in means(rows).items()}
    total = sum(map(len, results.values()))
    title = f"SRGAN: {total} images, x{scale}; their middles"
    write_page(folder / "page.html", title, table, page_rows(results, options))
    notice(f"wrote {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return result


def page_rows(
    results: dict[str, list[dict[str, Any]]], options: argparse.Namespace
) -> Iterator[tuple[str, list[tuple[str, np.ndarray]], dict[str, float]]]:
    """The rows of `write_page`: an image's middle, as lr, bicubic, the model's and the original."""
    scale = options.scale
    for name, rows in results.items():
        for number, row in enumerate(rows):
            lr, hr = pair(options, Path(row["file"]), number)
            columns = {"lr": lr.repeat(scale, 0).repeat(scale, 1), "bicubic": baseline.enlarge(lr, scale)}
            if row["output"]:
                columns["model"] = read_rgb(row["output"])
            columns["original"] = hr
            scores = {**row.get("model", row["bicubic"]), "psnr_y of bicubic": row["bicubic"]["psnr_y"]}
            shown = [(heading, middle(image, scale)) for heading, image in columns.items()]
            yield f"{name}: {Path(row['file']).name}", shown, scores


def middle(image: np.ndarray, scale: int) -> np.ndarray:
    """The middle of an image [h, w, c]: SHOWN pixels in height and width, or all there are."""
    top, left = (max(0, length - SHOWN) // 2 // scale * scale for length in image.shape[:2])
    return image[top : top + SHOWN, left : left + SHOWN]


def table_lines(name: str, rows: Sequence[dict[str, Any]], scale: int) -> Iterator[str]:
    """A set's results for the terminal: what each image has, the means, and what the paper printed."""
    values = means(rows)
    methods = [method for method in ("bicubic", "model") if method in values]
    yield f"{name}: {len(rows)} images, x{scale}; psnr_y / ssim_y of each:"
    for row in rows:
        scores = "".join(f"   {m} {row[m]['psnr_y']:6.2f} / {row[m]['ssim_y']:.4f}" for m in methods)
        yield f"  {Path(row['file']).name.encode('utf-8', 'replace').decode():24}{scores}"
    names = list(values["bicubic"])
    widths = [max(8, len(name) + 2) for name in names]
    yield f"{'means':16}" + "".join(f"{name:>{width}}" for name, width in zip(names, widths))
    published = PAPER.get((name.lower(), len(rows)), {}) if scale == 4 else {}
    values.update({method: {"psnr_y": psnr, "ssim_y": ssim} for method, (psnr, ssim) in published.items()})
    for method, row in values.items():
        cells = (f"{row[name]:.{2 if name.startswith('psnr') else 4}f}" if name in row else "" for name in names)
        yield (f"{method:16}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths))).rstrip()


# The command.


def named_folder(text: str) -> tuple[str, Path]:
    """A flag's `type`: NAME=DIR."""
    name, _, folder = text.partition("=")
    if not name or not folder or Path(name).name != name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR, such as Set14=data/Set14")
    return name, Path(folder).expanduser()


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    what = "weights, a run's folder or a gen_model<epoch>.h5 (SRGAN/pretrained/)"
    parser.add_argument("--ckpt_path", metavar="PATH", help=what)
    parser.add_argument("--model", metavar="FILE", help="instead of weights an export: .onnx, .pb, SavedModel or .om")
    cli.add_boolean(parser, "--bicubic", False, "no network: bicubic alone")
    parser.add_argument("--data_path", metavar="DIR", help="a training set, of which val/ is measured (the run's own)")
    parser.add_argument("--sets", type=named_folder, nargs="+", metavar="NAME=DIR", help="known sets, each whole")
    parser.add_argument("--lr_path", metavar="DIR", help="lr images of the names that --data_path has")
    text = "what lr is made by otherwise (a run's own on its own data, else bicubic)"
    parser.add_argument("--degradation", choices=data.DEGRADATIONS, help=text)
    parser.add_argument("--seed", type=cli.in_range(int, 0), default=0, help="of --degradation=photo")
    parser.add_argument("--scale", type=int, choices=SCALES, help="with --bicubic (4)")
    parser.add_argument("--max_images", type=cli.in_range(int, 1), metavar="N", help="the first N of each set (all)")
    text = "of VGG19, as Keras publishes them: adds the column vgg"
    parser.add_argument("--vgg19_weights", "--weights", metavar="FILE", help=text)
    parser.add_argument("--output_path", metavar="DIR", help="a new folder for the results (evaluation in the run's)")
    cli.add_boolean(parser, "--skip_bad_files", False, "leave out and count images that cannot be measured")
    predict.add_device_flags(parser, argv)
    args = parser.parse_args(argv)
    if sum(map(bool, (args.ckpt_path, args.model, args.bicubic))) > 1:
        parser.error("--ckpt_path, --model and --bicubic name a network each; give one of them")
    if not (args.ckpt_path or args.data_path or args.sets):
        parser.error("name the images to measure on: --sets NAME=DIR or --data_path DIR")
    if args.lr_path and not args.data_path:
        parser.error("--lr_path belongs to --data_path; give both")
    return args


def image_sets(args: argparse.Namespace, options: argparse.Namespace) -> dict[str, list[Path]]:
    """The files to measure on, by set: the named sets, and where data is named or nothing is, its held-out images.

    Raises:
        UserError: there is no such folder, or no image in it.
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
        raise UserError(f"{args.ckpt_path} does not tell its data; name images with --data_path or --sets")
    return {name: files[: args.max_images] for name, files in sets.items()}


def held_out(path: str, options: Optional[argparse.Namespace]) -> list[Path]:
    """The images that a training on the folder does not see: those in val/, else of a run's own data as it was split,
    else, since nothing was trained on the folder, all of them."""
    folder = Path(path).expanduser()
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        return find("--data_path", folder / "val")
    return data.split(options)[1] if options else find("--data_path", folder)


def find(flag: str, folder: Path) -> list[Path]:
    """The images in a folder that a flag names, and below it.

    Raises:
        UserError: there is none.
    """
    try:
        return data.find_images(folder)
    except UserError:
        raise UserError(f"{flag}: no images in {folder} or below it") from None


def pair_options(args: argparse.Namespace, trained: argparse.Namespace, scale: int, name: str) -> argparse.Namespace:
    """How `pair` makes lr for one of the sets: of a run's own data as the run did, of all else by the flags."""
    path = args.data_path or getattr(trained, "data_path", None)
    own = trained if name == "held-out" and path == getattr(trained, "data_path", None) else argparse.Namespace()
    return argparse.Namespace(
        scale=scale,
        degradation=args.degradation or getattr(own, "degradation", "bicubic"),
        lr_path=(name == "held-out" and args.lr_path) or getattr(own, "lr_path", None),
        data_path=path,
        seed=args.seed,
    )


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluates a network, prints the metrics and writes the results to a new folder.

    Returns: what evaluation.json holds.
    Raises:
        UserError: no such network, images or weights, or a scale that is not the network's.
    """
    network = None if args.bicubic else predict.load_network(args)
    scale = network.scale if network else args.scale or 4
    if args.scale not in (None, scale):
        raise UserError(f"--scale {args.scale}: {network.path} enlarges {scale} times; leave --scale out")
    trained = network.options if network and network.options else argparse.Namespace()
    distance = feature_distance(args.vgg19_weights) if args.vgg19_weights else None
    sets = {}
    for name, files in image_sets(args, trained).items():
        options = pair_options(args, trained, scale, name)
        sets[name] = options, usable(options, files, args.skip_bad_files)
    folder = run_folder(network.path) if args.ckpt_path else Path()
    folder = cli.new_folder(args.output_path or folder / "evaluation")
    results = {}
    for name, (options, files) in sets.items():
        results[name] = measure(options, network, files, folder / "images" / name, distance)
        print(*table_lines(name, results[name], scale), sep="\n", flush=True)
    about = {
        "model": network and os.path.abspath(network.path),
        "vgg19_weights": args.vgg19_weights and os.path.abspath(args.vgg19_weights),
    }
    return write_results(folder, options, results, about)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(evaluate, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
