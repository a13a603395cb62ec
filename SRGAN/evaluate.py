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
import sys
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
from common.images import read_rgb, write_page
from common.weights import run_folder

PAPER = {  # table 2, x4: by name and number of images. Its SSIM is another program's: see metrics.py
    ("set5", 5): {"SRResNet (paper)": (32.05, 0.9019), "SRGAN (paper)": (29.40, 0.8472)},
    ("set14", 14): {"SRResNet (paper)": (28.49, 0.8184), "SRGAN (paper)": (26.02, 0.7397)},
    ("bsd100", 100): {"SRResNet (paper)": (27.58, 0.7620), "SRGAN (paper)": (25.16, 0.6688)},
}
SHOWN = 100  # images on the page ...
SIDE = 256  # ... of which it shows the middle: pixels in height and width
BLOCK = 512  # pixels: size of the parts that VGG19 looks at, for its memory


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    predict.add_network_flags(parser)
    parser.add_argument("--data_path", metavar="DIR", help="a training set, of which val/ is measured (the run's own)")
    parser.add_argument("--sets", nargs="+", default=[], metavar="NAME=DIR", help="known sets, each whole")
    parser.add_argument("--degradation", choices=data.DEGRADATIONS, help="of lr (the run's on its data, or bicubic)")
    parser.add_argument("--max_images", type=cli.in_range(int, 1), metavar="N", help="the first N of each set (all)")
    parser.add_argument("--vgg19_weights", metavar="FILE", help="of VGG19, Keras' file: adds the column vgg")
    parser.add_argument("--output_path", metavar="DIR", help="a new folder for the results (evaluation in the run's)")
    return parser.parse_args(argv)


def pairs(options: argparse.Namespace, files: Iterable[Path]) -> Iterator[tuple[Path, np.ndarray, np.ndarray]]:
    """The files that can be measured, each with lr and hr, uint8 [h, w, 3] and [scale h, scale w, 3]; tells at the end
    which cannot.

    Args:
        options: `scale`, `degradation`, `lr_path`, and `data_path` and `seed` where these need them.
    Raises:
        UserError: none can.
    """
    count, bad, least = 0, [], metrics.WINDOW + 2 * options.scale
    for path in files:
        try:
            hr = baseline.crop(read_rgb(path), options.scale)
            if min(hr.shape[:2]) < least:
                raise UserError(f"{path}: too small to be measured, it takes {least} pixels in height and width")
            rng = np.random.default_rng([options.seed, count])
            lr = data.read_lr(options, path, hr) if options.lr_path else data.low_resolution(options, hr, rng)
        except UserError as error:
            bad.append(str(error))
            continue
        count += 1
        yield path, lr, hr
    if not count:
        raise UserError(f"none of the images can be measured: {bad[0]}")
    if bad:
        notice(f"{len(bad)} of {count + len(bad)} images left out: {'; '.join(bad[:5])}")


def middle(image: np.ndarray, scale: int, size: int = SIDE) -> np.ndarray:
    """The middle of an image [h, w, c], from a multiple of `scale` on: `size` pixels in height and width at most."""
    top, left = (max(0, length - size) // 2 // scale * scale for length in image.shape[:2])
    return image[top : top + size, left : left + size]


def example_rows(network: Enlarger, examples: Sequence[tuple[np.ndarray, np.ndarray]], size: int) -> np.ndarray:
    """The middles of some (lr, hr), `size` pixels of lr or what all of them have: bicubic, the network's, the original
    side by side, uint8 [n, scale * size, 3 * scale * size, 3]."""
    rows, scale = [], network.scale
    size = min(size, *(length for lr, _ in examples for length in lr.shape[:2]))
    for lr, hr in examples:
        lr, hr = middle(lr, 1, size), middle(hr, scale, scale * size)
        rows.append(np.concatenate([baseline.enlarge(lr, scale), network.enlarge(lr), hr], 1))
    return np.stack(rows)


def feature_distance(weights: str) -> Callable[[np.ndarray, np.ndarray], float]:
    """A function of two uint8 images [h, w, 3]: the mean squared difference of their features, equation 5.

    Of large images the mean is taken in blocks, which count by their areas.

    Raises:
        UserError: the weights are missing, damaged, or of another network.
    """
    import losses
    import tensorflow as tf

    from common.vgg19 import build_vgg19

    network = build_vgg19(weights)
    signature = [tf.TensorSpec([None, None, None, 3], tf.uint8)]
    extract = tf.function(lambda images: losses.features(network, images), input_signature=signature)

    def distance(image: np.ndarray, hr: np.ndarray) -> float:
        total = 0.0
        for band in np.array_split(np.stack([image, hr]), -(-hr.shape[0] // BLOCK), axis=1):
            for block in np.array_split(band, -(-hr.shape[1] // BLOCK), axis=2):
                x, y = extract(tf.constant(block)).numpy()
                total += float(np.square(x - y).mean()) * block[0].size
        return total / hr.size

    return distance


def table_lines(name: str, count: int, means: dict[str, dict[str, float]], scale: int) -> Iterator[str]:
    """A set's means for the terminal, and what the paper printed."""
    names = list(means["bicubic"])
    published = PAPER.get((name.lower(), count), {}) if scale == 4 else {}
    table = {**means, **{method: dict(zip(("psnr_y", "ssim_y"), both)) for method, both in published.items()}}
    widths = [max(8, len(name) + 2) for name in names]
    yield f"{name}: {count} images, x{scale}"
    yield f"{'means':16}" + "".join(f"{name:>{width}}" for name, width in zip(names, widths))
    for method, row in table.items():
        cells = (f"{row[name]:.{2 if name.startswith('psnr') else 4}f}" if name in row else "" for name in names)
        yield (f"{method:16}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths))).rstrip()


def measure_sets(
    network: Enlarger,
    sets: dict[str, tuple[argparse.Namespace, Sequence[Path]]],
    folder: Union[str, Path],
    distance: Optional[Callable] = None,
    **about: Any,
) -> dict[str, Any]:
    """Measures sets of images, prints their means and writes everything to a new folder (<folder>-2, ...).

    Args:
        sets: by name the options, as `pairs` has them, and the files; those that cannot be used are left out.
        distance: of an enlarged image and its original.
        about: what else evaluation.json tells.
    Returns:
        What evaluation.json holds: {"sets": {name: {"images": how many, "metrics": {method: means}, "per_image":
        [{"file", "output": the enlarged file, "bicubic": {...}, "model": {...}, "original": {"blur"}}, ...]}}, ...}.
    """
    folder, scale, found, page = cli.new_folder(folder), network.scale, {}, []
    for name, (options, files) in sets.items():
        rows: list[dict[str, Any]] = []
        for path, lr, hr in pairs(options, tqdm(files, "measuring", unit="", disable=None)):
            results = {"bicubic": baseline.enlarge(lr, scale), "model": network.enlarge(lr)}
            output = cli.new_file(folder / "images" / name / f"{path.stem}.png")
            Image.fromarray(results["model"]).save(output)
            row: dict[str, Any] = {"file": str(path), "output": str(output)}
            for method, image in results.items():
                row[method] = {**metrics.compare(image, hr, scale), "blur": metrics.blur(image)}
                if distance:
                    row[method]["vgg"] = distance(image, hr)
            rows.append({**row, "original": {"blur": metrics.blur(hr)}})
            if len(rows) <= SHOWN:
                columns = {"lr": lr.repeat(scale, 0).repeat(scale, 1), **results, "original": hr}
                scores = {**row["model"], "psnr_y of bicubic": row["bicubic"]["psnr_y"]}
                shown = [(heading, middle(image, scale)) for heading, image in columns.items()]
                page.append((f"{name}: {path.name}", shown, scores))
        means = {
            method: {key: float(np.mean([row[method][key] for row in rows])) for key in rows[0][method]}
            for method in ("bicubic", "model", "original")
        }
        tqdm.write("\n".join(table_lines(name, len(rows), means, scale)), file=sys.stdout)
        degradation = options.lr_path or options.degradation
        found[name] = {"images": len(rows), "degradation": degradation, "metrics": means, "per_image": rows}
    conventions = {"y": f"16 to 235, {scale} pixels shaved", "rgb": "whole", "y_full": "0 to 255, whole"}
    result = {**about, "scale": scale, "conventions": conventions, "sets": found}
    (folder / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    table = {f"{name}: {method}": row for name, one in found.items() for method, row in one["metrics"].items()}
    title = f"SRGAN: {sum(one['images'] for one in found.values())} images, x{scale}; their middles"
    write_page(folder / "page.html", title, table, page)
    notice(f"wrote {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return result


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluates the network and the sets that the flags name; returns what evaluation.json holds.

    Raises:
        UserError: no such network, images or weights.
    """
    network = predict.load_network(args)
    trained = vars(network.options or argparse.Namespace())
    options = argparse.Namespace(scale=network.scale, degradation=args.degradation or "bicubic", lr_path=None, seed=0)
    sets = {}
    for name, _, folder in (text.partition("=") for text in args.sets):
        if not (name and folder) or Path(name).name != name:
            raise UserError(f"--sets {name}: is not NAME=DIR, such as Set14=data/Set14")
        sets[name] = options, data.find_images(Path(folder).expanduser(), f"--sets {name}=")
    path = args.data_path or (None if sets else trained.get("data_path"))
    if path and path == trained.get("data_path"):  # measured as the run was trained
        own = argparse.Namespace(**{**trained, "degradation": args.degradation or trained["degradation"], "seed": 0})
        sets["held-out"] = own, data.split(own)[1]
    elif path:  # nothing was trained on it: all of it, where it has no val/
        folder = Path(path).expanduser()
        sets["held-out"] = options, data.find_images(folder / "val" if (folder / "val").is_dir() else folder)
    if not sets:
        raise UserError("name the images to measure on: --sets NAME=DIR or --data_path DIR")
    sets = {name: (options, files[: args.max_images]) for name, (options, files) in sets.items()}
    folder = args.output_path or (run_folder(network.path) if args.ckpt_path else Path()) / "evaluation"
    distance = feature_distance(args.vgg19_weights) if args.vgg19_weights else None
    about = {"model": os.path.abspath(network.path), "vgg19_weights": args.vgg19_weights}
    return measure_sets(network, sets, folder, distance, **about)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(evaluate, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
