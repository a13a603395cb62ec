"""Measures a trained SRGAN beside bicubic interpolation: PSNR and SSIM in three conventions, and sharpness.

python SRGAN/evaluate.py --sets Set5=data/Set5 Set14=data/Set14 --vgg19_weights=FILE    the weights in pretrained/
python SRGAN/evaluate.py --ckpt_path=RUN                        a run on its held-out images
python SRGAN/evaluate.py --model=exported/generator.onnx --sets Set14=data/Set14 --degradation=photo

Originals are cropped to a multiple of the scale (top left) and made smaller by antialiased bicubic; what is enlarged
from that is compared with them. metrics.py tells the conventions; y shaves as many pixels as the scale says, 4 at x4.
Bicubic's row checks the scorer by known numbers: 28.42 dB and 0.81 on Set5's y at x4. PSNR and SSIM reward what is
blurred, hence `blur`, 0 for sharp to 1, of each image by itself; and, with the weights of VGG19, `vgg`, the distance in
the features that the content loss is made of.

A new folder, `evaluation` or `evaluation-2`, ..., takes the enlarged images, evaluation.json and page.html.
"""

import argparse
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, Optional, Union

import _path  # noqa: F401  (finds ../common)
import baseline
import data
import metrics
import numpy as np
import predict
from enlarger import Enlarger
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
SHOWN = 100  # images on the page ...
SIDE = 256  # ... of which it shows the middle: pixels in height and width
BLOCK = 512  # pixels: size of the parts that VGG19 looks at, for its memory
FEATURE_SCALE = 1 / 12.75  # section 3.2

Distance = Callable[[np.ndarray, np.ndarray], float]


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    predict.add_network_flags(parser, argv)
    parser.add_argument("--data_path", metavar="DIR", help="a training set, of which val/ is measured (the run's own)")
    parser.add_argument("--sets", type=named_folder, nargs="+", metavar="NAME=DIR", help="known sets, each whole")
    text = "what lr is made by (a run's own on its own data, else bicubic)"
    parser.add_argument("--degradation", choices=data.DEGRADATIONS, help=text)
    parser.add_argument("--max_images", type=cli.in_range(int, 1), metavar="N", help="the first N of each set (all)")
    text = "of VGG19, as Keras publishes them: adds the column vgg"
    parser.add_argument("--vgg19_weights", "--weights", metavar="FILE", help=text)
    parser.add_argument("--output_path", metavar="DIR", help="a new folder for the results (evaluation in the run's)")
    return parser.parse_args(argv)


def named_folder(text: str) -> tuple[str, Path]:
    """A flag's `type`: NAME=DIR."""
    name, _, folder = text.partition("=")
    if not name or not folder or Path(name).name != name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR, such as Set14=data/Set14")
    return name, Path(folder).expanduser()


def pair(options: argparse.Namespace, path: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
    """lr and hr of a file, uint8 [h, w, 3] and [scale h, scale w, 3]; `number` tells the files of a set apart.

    Args:
        options: `scale`, `degradation`, `lr_path`, and `data_path` and `seed` where these need them.
    Raises:
        UserError: it does not decode, or is too small to be measured.
    """
    scale = options.scale
    hr = baseline.crop(read_rgb(path), scale)
    least = metrics.WINDOW + 2 * scale
    if min(hr.shape[:2]) < least:
        raise UserError(f"{path}: too small to be measured at x{scale}; it takes {least} pixels in height and width")
    if options.lr_path:
        return data.read_pair(options, path)
    return data.low_resolution(options, hr, np.random.default_rng([options.seed, number])), hr


def pairs(options: argparse.Namespace, files: Iterable[Path]) -> Iterator[tuple[Path, np.ndarray, np.ndarray]]:
    """The files that can be measured, each with its lr and hr; tells at the end which cannot.

    Raises:
        UserError: none can.
    """
    count, bad = 0, []
    for path in files:
        try:
            lr, hr = pair(options, path, count)
        except UserError as error:
            bad.append(str(error))
            continue
        count += 1
        yield path, lr, hr
    if not count:
        raise UserError(f"none of the images can be measured: {bad[0]}")
    if bad:
        notice(f"{len(bad)} of {count + len(bad)} images left out: {'; '.join(bad[:5])}")


def measure(
    options: argparse.Namespace,
    network: Enlarger,
    files: Sequence[Path],
    folder: Path,
    distance: Optional[Distance] = None,
) -> tuple[list[dict[str, Any]], list[tuple]]:
    """Each image's metrics, and rows of `write_page` that show some.

    Args:
        options: as `pair` has them.
        folder: takes the network's images.
        distance: of an enlarged image and its original.
    Returns:
        [{"file", "output": the enlarged file, "bicubic": {...}, "model": {...}, "original": {"blur"}}, ...], and rows.
    """
    rows, shown, scale = [], [], options.scale
    for path, lr, hr in pairs(options, tqdm(files, "measuring", unit="", disable=None)):
        results = {"bicubic": baseline.enlarge(lr, scale), "model": to_uint8(network.enlarge(lr), (0.0, 1.0))}
        row: dict[str, Any] = {"file": str(path), "output": save_image(results["model"], folder / f"{path.stem}.png")}
        for method, image in results.items():
            row[method] = {**metrics.compare(image, hr, scale), "blur": metrics.blur(image)}
            if distance:
                row[method]["vgg"] = distance(image, hr)
        row["original"] = {"blur": metrics.blur(hr)}
        rows.append(row)
        if len(shown) < SHOWN:
            columns = {"lr": lr.repeat(scale, 0).repeat(scale, 1), **results, "original": hr}
            scores = {**row["model"], "psnr_y of bicubic": row["bicubic"]["psnr_y"]}
            shown.append((path.name, [(name, middle(image, scale)) for name, image in columns.items()], scores))
    return rows, shown


def save_image(image: np.ndarray, path: Path) -> str:
    """Writes a uint8 image [h, w, 3] to a new file and returns its path."""
    path = cli.new_file(path)
    Image.fromarray(image).save(path)
    return str(path)


def middle(image: np.ndarray, scale: int) -> np.ndarray:
    """The middle of an image [h, w, c]: SIDE pixels in height and width, or all there are."""
    top, left = (max(0, length - SIDE) // 2 // scale * scale for length in image.shape[:2])
    return image[top : top + SIDE, left : left + SIDE]


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
        for band in np.array_split(np.stack([image, hr]), -(-hr.shape[0] // BLOCK), axis=1):
            for block in np.array_split(band, -(-hr.shape[1] // BLOCK), axis=2):
                x, y = extract(tf.constant(block)).numpy() * FEATURE_SCALE
                total += float(np.square(x - y).mean()) * block[0].size
        return total / hr.size

    return distance


def means(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The mean of each metric of "bicubic", "model" and "original"."""
    return {
        method: {name: float(np.mean([row[method][name] for row in rows])) for name in rows[0][method]}
        for method in ("bicubic", "model", "original")
    }


def table_lines(name: str, rows: Sequence[dict[str, Any]], scale: int) -> Iterator[str]:
    """A set's means for the terminal, and what the paper printed."""
    table = means(rows)
    names = list(table["bicubic"])
    published = PAPER.get((name.lower(), len(rows)), {}) if scale == 4 else {}
    table.update({method: {"psnr_y": psnr, "ssim_y": ssim} for method, (psnr, ssim) in published.items()})
    widths = [max(8, len(name) + 2) for name in names]
    yield f"{name}: {len(rows)} images, x{scale}"
    yield f"{'means':16}" + "".join(f"{name:>{width}}" for name, width in zip(names, widths))
    for method, row in table.items():
        cells = (f"{row[name]:.{2 if name.startswith('psnr') else 4}f}" if name in row else "" for name in names)
        yield (f"{method:16}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths))).rstrip()


def write_results(
    folder: Path, options: argparse.Namespace, results: dict[str, tuple[list, list]], **about: Any
) -> dict[str, Any]:
    """Writes evaluation.json and page.html beside the images of `measure`, and returns what the former holds.

    Args:
        results: what `measure` gave, by set.
        about: what else evaluation.json tells.
    """
    scale = options.scale
    sets = {
        name: {"images": len(rows), "metrics": means(rows), "per_image": rows} for name, (rows, _) in results.items()
    }
    conventions = {"y": f"16 to 235, {scale} pixels shaved", "rgb": "whole", "y_full": "0 to 255, whole"}
    degradation = options.lr_path or options.degradation
    result = {**about, "scale": scale, "degradation": degradation, "conventions": conventions, "sets": sets}
    (folder / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    table = {f"{name}: {method}": row for name, found in sets.items() for method, row in found["metrics"].items()}
    page = ((f"{name}: {file}", *row) for name, (_, shown) in results.items() for file, *row in shown)
    title = f"SRGAN: {sum(found['images'] for found in sets.values())} images, x{scale}; their middles"
    write_page(folder / "page.html", title, table, page)
    notice(f"wrote {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return result


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
    folder = cli.new_folder(folder)
    results = {"held-out": measure(args, network, files, folder / "images")}
    found = write_results(folder, args, results, data=os.path.abspath(args.data_path))["sets"]["held-out"]
    return tuple({**found["metrics"][method], "images": found["images"]} for method in ("model", "bicubic"))


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluates a network, prints the metrics and writes the results to a new folder.

    Returns: what evaluation.json holds.
    Raises:
        UserError: no such network, images or weights.
    """
    network = predict.load_network(args)
    trained = network.options or argparse.Namespace()
    options = argparse.Namespace(scale=network.scale, degradation=args.degradation or "bicubic", lr_path=None, seed=0)
    sets = {name: (options, data.find_images(folder, f"--sets {name}=")) for name, folder in args.sets or ()}
    own = getattr(trained, "data_path", None)
    path = args.data_path or (None if sets else own)
    if path and path == own:  # measured as the run was trained
        changed = {"degradation": args.degradation or trained.degradation, "seed": 0}
        sets["held-out"] = argparse.Namespace(**{**vars(trained), **changed}), data.split(trained)[1]
    elif path:  # nothing was trained on it: all of it, where it has no val/
        folder = Path(path).expanduser()
        sets["held-out"] = options, data.find_images(folder / "val" if (folder / "val").is_dir() else folder)
    if not sets:
        raise UserError("name the images to measure on: --sets NAME=DIR or --data_path DIR")
    distance = feature_distance(args.vgg19_weights) if args.vgg19_weights else None
    folder = cli.new_folder(args.output_path or (run_folder(network.path) if args.ckpt_path else Path()) / "evaluation")
    results = {}
    for name, (options, files) in sets.items():
        results[name] = measure(options, network, files[: args.max_images], folder / "images" / name, distance)
        print(*table_lines(name, results[name][0], network.scale), sep="\n", flush=True)
    weights = args.vgg19_weights and os.path.abspath(args.vgg19_weights)
    return write_results(folder, options, results, model=os.path.abspath(network.path), vgg19_weights=weights)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(evaluate, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
