"""Measures a trained Pix2Pix on held-out pairs: L1, PSNR and SSIM, beside an untrained generator and a trivial answer.

python Pix2Pix/evaluate.py --ckpt_path=Pix2Pix/test/output/0
python Pix2Pix/evaluate.py --ckpt_path=RUN --features=vgg19 --weights=vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5

A new folder, `evaluation` or `evaluation-2`, ..., takes every output picture, evaluation.json and gallery.html. With
--features also the Frechet and the kernel distance between all outputs and all targets (features.py tells by what).
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
import numpy as np
import trained
from baseline import colour_table, mean_colours
from data import Pairs, find_pairs
from features import FILES, NETWORKS, feature_extractor
from metrics import compare
from model import build_generator
from PIL import Image
from tensorflow import keras
from tqdm import tqdm
from trained import INFERENCE, translate

from common import cli
from common.cli import UserError
from common.distances import frechet_distance, kernel_distance
from common.gallery import Row, write_gallery
from common.session import add_device_flags, device_config, notice, open_session, set_seed

METHODS = {
    "trained": "trained generator",
    "untrained": "untrained generator",
    "mean_colour": "mean colour per label",
}
TABLE_PAIRS = 400  # training pairs that the mean colours are taken from, at most

Extractor = Callable[[np.ndarray], np.ndarray]


def evaluate_run(
    args: argparse.Namespace,
    generator: keras.Model,
    train_files: Sequence[Path],
    val_files: Sequence[Path],
    folder: Union[str, Path, None] = None,
) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics of a trained generator, and the baselines.

    Args:
        args: of train.py.
        generator: for pictures of `fine_size`.
        train_files: pairs to take the mean colours from, at most 400 of them.
        val_files: pairs to measure on, each half scaled to `fine_size`.
        folder: takes the pictures, evaluation.json and gallery.html; <folder>-2, ... where it is there already.
    Returns:
        {"l1", "psnr", "ssim", "pictures"}, and {"l1", "psnr", "ssim": of the mean colour per label, "untrained_l1",
        "untrained_psnr", "untrained_ssim"}.
    Raises:
        UserError: a file does not decode or is no such pair.
    """
    pairs = read_pairs(args, val_files)
    folder = cli.new_folder(folder) if folder else None
    scores, means = measure(args, generator, train_files, pairs, folder)
    if folder:
        write_results(folder, args, pairs, scores, means, {"data": os.path.abspath(args.data_path)})
    untrained = {f"untrained_{name}": value for name, value in means["untrained"].items()}
    return {**means["trained"], "pictures": len(pairs)}, {**means["mean_colour"], **untrained}


def read_pairs(options: argparse.Namespace, files: Sequence[Path]) -> Pairs:
    """Pairs with each half scaled to `fine_size`, all looked at before anything is measured or written."""
    pairs = Pairs(options, files, (options.fine_size, options.fine_size), options.skip_bad_files)
    if pairs.bad:
        notice(f"{len(pairs.bad)} of {len(files)} files left out: {'; '.join(pairs.bad[:5])}")
    return pairs


def halves(options: argparse.Namespace, pairs: Pairs, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Pair `index` as (input, target)."""
    pair = pairs.read(index)
    return pair[..., : options.input_nc], pair[..., options.input_nc :]


def spread(files: Sequence[Path], count: int) -> list[Path]:
    """At most `count` of the files, evenly over all of them."""
    return [files[index * len(files) // count] for index in range(count)] if len(files) > count else list(files)


def measure(
    options: argparse.Namespace,
    generator: keras.Model,
    train_files: Sequence[Path],
    pairs: Pairs,
    folder: Optional[Path] = None,
    extract: Optional[Extractor] = None,
) -> tuple[dict[str, list[dict[str, float]]], dict[str, dict[str, float]]]:
    """Each method's metrics of each picture, and their means.

    Args:
        train_files: pairs to take the mean colours from; none leaves that baseline out.
        folder: the trained generator's pictures go to `pictures/` in it.
        extract: gives a picture's features; with it the means hold the distances of the sets too.
    Returns:
        {"trained": [{"l1", "psnr", "ssim"}, ...], "untrained": ..., "mean_colour": ...}, and {"trained": {"l1", "psnr",
        "ssim"[, "frechet", "kernel"]}, ...}.
    """
    set_seed(options.seed)
    size = (options.fine_size, options.fine_size)
    untrained = build_generator(*size, options.input_nc, options.output_nc, options.ngf)
    answers = {
        "trained": drawer(generator, inference_of(options), options.seed),
        "untrained": drawer(untrained, inference_of(options), options.seed),
    }
    if len(train_files):
        known = read_pairs(options, spread(train_files, TABLE_PAIRS))
        table = colour_table(halves(options, known, index) for index in range(len(known)))
        answers["mean_colour"] = lambda source: mean_colours(table, source)
    names = picture_names(pairs.files)
    scores: dict[str, list] = {method: [] for method in answers}
    vectors: dict[str, list] = {name: [] for name in (*answers, "target")}
    for index in tqdm(range(len(pairs)), "evaluation", disable=None):
        source, target = halves(options, pairs, index)
        pictures = {method: answer(source) for method, answer in answers.items()}
        for method, picture in pictures.items():
            scores[method].append(compare(picture, target))
        if folder:
            save_picture(pictures["trained"], folder / "pictures" / names[index])
        if extract:
            for name, picture in {**pictures, "target": target}.items():
                vectors[name].append(extract(picture))
    means = {
        method: {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        for method, rows in scores.items()
    }
    if extract:
        for method, values in means.items():
            ours, targets = np.stack(vectors[method]), np.stack(vectors["target"])
            values.update(frechet=frechet_distance(ours, targets), kernel=kernel_distance(ours, targets))
    return scores, means


def drawer(
    generator: keras.Model, inference: str = "deterministic", seed: int = 0
) -> Callable[[np.ndarray], np.ndarray]:
    """A function of an input, uint8 [h, w, input_nc] of the generator's size, that gives its picture like predict.py.

    Args:
        inference: "deterministic", or "paper": with dropout.
        seed: of that dropout, which is the same for each picture.
    """
    model = SimpleNamespace(generator=lambda height, width: generator)
    return lambda source: translate(model, source[None], inference, seed)[0]


def inference_of(options: argparse.Namespace) -> str:
    return getattr(options, "inference", "deterministic")


def picture_names(files: Sequence[Path]) -> list[str]:
    """A name for the picture of each file: its own with .png, and -2, -3, ... where two would have the same."""
    names: dict[str, None] = {}
    for path in files:
        name, number = f"{path.stem}.png", 1
        while name in names:
            number += 1
            name = f"{path.stem}-{number}.png"
        names[name] = None
    return list(names)


def save_picture(picture: np.ndarray, path: Path) -> None:
    """Writes uint8 [h, w, 1, 3 or 4] as a PNG."""
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(path)


def write_results(
    folder: Path,
    options: argparse.Namespace,
    pairs: Pairs,
    scores: dict[str, list[dict[str, float]]],
    means: dict[str, dict[str, float]],
    about: dict[str, Any],
) -> dict[str, Any]:
    """Writes evaluation.json and gallery.html beside the pictures of `measure`, and returns what the former holds.

    Args:
        about: what else evaluation.json tells.
    """
    outputs = [f"pictures/{name}" for name in picture_names(pairs.files)]
    result = {
        **about,
        "pictures": len(pairs),
        "size": options.fine_size,
        "which_direction": options.which_direction,
        "inference": inference_of(options),
        "seed": options.seed,
        "metrics": means,
        "per_picture": [
            {"file": path.name, "output": output, **row}
            for path, output, row in zip(pairs.files, outputs, scores["trained"])
        ],
    }
    (folder / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")

    def rows():
        for index, (path, output, row) in enumerate(zip(pairs.files, outputs, scores["trained"])):
            source, target = halves(options, pairs, index)
            with Image.open(folder / output) as picture:
                columns = [("input", source), ("output", np.atleast_3d(np.asarray(picture))), ("target", target)]
            yield Row(path.name, columns, row)

    title = f"Pix2Pix: {len(pairs)} pictures of {about['data']}, {options.which_direction}"
    table = {METHODS[method]: values for method, values in means.items()}
    shown = write_gallery(folder / "gallery.html", title, table, rows(), len(pairs))
    part = "" if shown == len(pairs) else f", with the first {shown} pictures: more would make it too large"
    notice(f"wrote {folder}: pictures/, evaluation.json, gallery.html{part}")
    return result


def table_lines(means: dict[str, dict[str, float]]) -> Iterator[str]:
    """The means as a table for the terminal."""
    names = list(means["trained"])
    yield " " * 24 + "".join(f"{name:>10}" for name in names)
    for method, values in means.items():
        yield f"{METHODS[method]:24}" + "".join(f"{values[name]:10.4g}" for name in names)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", required=True, metavar="PATH", help="a run's folder, or one checkpoint in it")
    parser.add_argument("--data_path", metavar="DIR", help="pairs in train/ and val/ (the run's own)")
    parser.add_argument("--split", choices=["val", "test", "train"], default="val", help="which to measure on (val)")
    parser.add_argument("--max_pictures", type=cli.in_range(int, 1), metavar="N", help="the first N of them (all)")
    parser.add_argument(
        "--inference",
        choices=INFERENCE,
        default="deterministic",
        help="paper: with dropout, as the paper tests (deterministic)",
    )
    parser.add_argument(
        "--seed", type=cli.in_range(int, 0, 2**31 - 1), default=0, help="of dropout and untrained weights (0)"
    )
    parser.add_argument("--features", choices=NETWORKS, help="also distances of the sets, by this network's features")
    parser.add_argument("--weights", metavar="FILE", help="its weights, as Keras publishes them")
    parser.add_argument("--output_path", metavar="DIR", help="a new folder for the results (evaluation in the run's)")
    add_device_flags(parser)
    args = parser.parse_args(argv)
    if args.features and not args.weights:
        parser.error(f"--features {args.features} needs --weights FILE: Keras' {FILES[args.features]}")
    if args.weights and not args.features:
        parser.error(f"--weights {args.weights}: say of which network with --features {' or '.join(NETWORKS)}")
    return args


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluates a checkpoint, prints the metrics and writes the results to a new folder.

    Returns: what evaluation.json holds.
    Raises:
        UserError: no such checkpoint, data or weights, or data of another kind than the checkpoint's.
    """
    open_session(device_config(args))
    extract = feature_extractor(args.features, args.weights) if args.features else None
    model = trained.load(args.ckpt_path)
    options = argparse.Namespace(**{**vars(model.options), "inference": args.inference, "seed": args.seed})
    data_path = args.data_path or options.data_path
    pairs = read_pairs(options, find_pairs(data_path, args.split)[: args.max_pictures])
    if extract and len(pairs) < 2:
        raise UserError(f"--features: a distance between sets needs two pictures at least, and there is {len(pairs)}")
    folder = cli.new_folder(args.output_path or model.run_folder / "evaluation")
    generator = model.generator(options.fine_size, options.fine_size)
    scores, means = measure(options, generator, training_files(data_path, options), pairs, folder, extract)
    about = {
        "checkpoint": os.path.abspath(model.prefix),
        "data": os.path.abspath(pairs.files[0].parent),
        "features": args.features and f"{args.features} by {os.path.basename(args.weights)}",
    }
    print(f"{len(pairs)} pictures of {about['data']}, {options.which_direction}, {args.inference} inference")
    print(*table_lines(means), sep="\n")
    return write_results(folder, options, pairs, scores, means, about)


def training_files(data_path: str, options: argparse.Namespace) -> list[Path]:
    """The pairs to take the mean colours from: the data's own, else those of the run, else none."""
    for path in (data_path, options.data_path):
        try:
            return find_pairs(path, "train")
        except UserError:
            continue
    notice("no pairs in train/, neither in the data nor where the run had its own: no mean colours")
    return []


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(evaluate, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
