"""Measures a trained Pix2Pix on held-out pairs, beside the trivial baseline: the mean colour that each label has.

python Pix2Pix/evaluate.py --data_path=facades
python Pix2Pix/evaluate.py --ckpt_path=RUN --readback --vgg19_weights=FILE --inception=FILE

L1, PSNR and SSIM of each image; with --vgg19_weights and --inception the Frechet and the kernel distance between all
generated images and all targets (features.py tells by what); with --readback how much of the label map can be read
back from the generated image (readback.py). A new folder, `evaluation` or `evaluation-2`, ..., takes every generated
image, evaluation.json and gallery.html.
"""

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

import _path  # noqa: F401  (finds ../common)
import features
import numpy as np
import readback
from data import Pairs, find_pairs
from metrics import compare, frechet_distance, kernel_distance, mean_colours
from predict import Translator, add_generator_flags, load_translator, save_image
from tqdm import tqdm

from common import cli, images, weights
from common.cli import UserError

METHODS = {"generated": "generated", "mean_colour": "mean colour per label", "real": "real photographs"}
TRAINING_PAIRS = 400  # that are used of train/, at most
BLUR = """\
l1, psnr and ssim reward blur: where a label does not tell the colour, the mean colour is nearly their best answer.
The distances and the label read-back do not; real photographs show what can be reached."""

Means = dict[str, dict[str, float]]


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    add_generator_flags(parser)
    parser.add_argument("--data_path", metavar="DIR", help="pairs in train/ and val/ (default: the run's own)")
    parser.add_argument("--split", choices=["val", "test", "train"], default="val", help="which to measure on")
    parser.add_argument("--max_images", type=cli.in_range(int, 1), metavar="N", help="the first N of them")
    parser.add_argument("--vgg19_weights", metavar="FILE", help="of VGG19, as Keras publishes them")
    parser.add_argument("--inception", metavar="FILE", help="the frozen Inception graph of 2015-12-05, for FID and KID")
    cli.add_boolean(parser, "--readback", False, "facades: read the labels back; trains a small network on train/")
    parser.add_argument("--output_path", metavar="DIR", help="a new folder (default: evaluation in the run's, or here)")
    return parser.parse_args(argv)


def evaluate(args: argparse.Namespace) -> None:
    """Evaluates a generator, prints the metrics and writes the results to a new folder.

    Raises:
        UserError: no such weights or data, or data of another kind than the generator's.
    """
    translator = load_translator(args)
    options = translator.options
    data_path = args.data_path or getattr(options, "data_path", None)
    if not isinstance(data_path, str):  # an export's, or what a stranger's file says
        raise UserError("--data_path DIR is missing: pairs in train/ and val/")
    extractors = {}
    if args.vgg19_weights:
        extractors["vgg19"] = features.vgg19_features(args.vgg19_weights)
    if args.inception:
        extractors["inception"] = features.inception_features(args.inception)
    pairs = Pairs(options, find_pairs(data_path, args.split)[: args.max_images], options.fine_size)
    if extractors and len(pairs) < 2:
        raise UserError("a distance between sets needs two images at least, and there is 1")
    train_files = images.find_images(Path(data_path) / "train")
    if not train_files:
        cli.notice("no pairs in train/: no mean colours, no real photographs beside the held-out ones")
    if args.readback and not (train_files and options.input_nc == options.output_nc == 3):
        raise UserError("--readback needs pairs in train/, three channels in and out")
    run = "." if args.model or args.ckpt_path is None else weights.run_folder(translator.path)
    place = os.path.abspath(pairs.files[0].parent)
    about = {name: getattr(args, name) for name in ("inference", "seed", "readback")}
    about.update(data=place, generator=os.path.abspath(translator.path))
    means = measure(translator, train_files, pairs, args.output_path or Path(run) / "evaluation", about, extractors)
    print(f"{len(pairs)} images of {place}, {options.which_direction}, {args.inference} inference")
    print(*table_lines(means), BLUR, sep="\n", flush=True)


def spread(items: Sequence, count: int) -> list:
    """At most `count` of them, evenly over all."""
    return [items[index * len(items) // count] for index in range(count)] if len(items) > count else list(items)


def measure(
    translator: Translator,
    train_files: Sequence[Path],
    pairs: Pairs,
    folder: Union[str, Path],
    about: dict[str, Any],
    extractors: Mapping[str, features.Extractor],
) -> Means:
    """Measures on pairs, and writes the generated images, evaluation.json and gallery.html.

    Args:
        train_files: training pairs, for the mean colours, other real images and the label reader; there may be none.
        folder: takes what is written; where it is there already, one beside it.
        about: what else evaluation.json tells. "data" also heads the gallery; with "readback" labels are read back.
        extractors: of features; with them the means hold the distances of the sets too.
    Returns: the means {"generated": {"l1", "psnr", "ssim", ...}, "mean_colour": ..., "real": ...}.
    """
    known = Pairs(pairs.args, spread(train_files, TRAINING_PAIRS), pairs.size)
    reader = readback.train_reader(known, about["seed"]) if about.get("readback") else None
    sources, targets = zip(*pairs)
    sets = {"generated": [translator(source) for source in tqdm(sources, "evaluation", disable=None)]}
    if known:
        sets["mean_colour"] = list(map(mean_colours(known), sources))
    rows = {method: list(map(compare, made, targets)) for method, made in sets.items()}
    means: Means = {"generated": {}, "mean_colour": {}, "real": {}}
    for method, found in rows.items():
        means[method] = {name: float(np.mean([row[name] for row in found])) for name in found[0]}
    for name, extract in extractors.items():
        real = [known[index][1] for index in spread(range(len(known)), len(pairs))]
        y = np.stack(list(map(extract, targets)))
        for method, made in {**sets, "real": real}.items():
            if len(made) > 1:
                x = np.stack(list(map(extract, made)))
                means[method][f"frechet_{name}"] = frechet_distance(x, y)
                means[method][f"kernel_{name}"] = kernel_distance(x, y)
    if reader:
        classes = np.stack([readback.classes_of(source, readback.SIZE)[0] for source in sources])
        for method, made in {**sets, "real": targets}.items():
            means[method].update(readback.scores(np.stack(list(map(reader, made))), classes))
    means = {method: values for method, values in means.items() if values}

    folder, per_image = cli.new_folder(folder), []
    for path, image, row in zip(pairs.files, sets["generated"], rows["generated"]):
        output = cli.new_file(folder / "generated" / f"{path.stem}.png")
        save_image(image, output)
        per_image.append({"file": path.name, "output": f"generated/{output.name}", **row})
    direction = pairs.args.which_direction
    result = {**about, "images": len(pairs), "size": pairs.size, "which_direction": direction, "metrics": means}
    (folder / "evaluation.json").write_text(json.dumps({**result, "per_image": per_image}, indent=2) + "\n")
    title = f"Pix2Pix: {len(pairs)} images of {about['data']}, {direction}"
    triples = zip(sources, sets["generated"], targets)
    columns = (list(zip(("input", "generated", "target"), triple)) for triple in triples)
    shown = zip([path.name for path in pairs.files], columns, rows["generated"])
    images.write_page(folder / "gallery.html", title, {METHODS[name]: row for name, row in means.items()}, shown)
    cli.notice(f"wrote {folder}: generated/, evaluation.json, gallery.html")
    return means


def table_lines(means: Means) -> Iterator[str]:
    """The means as a table for the terminal, a metric a row."""
    yield " " * 18 + "".join(f"{METHODS[method]:>24}" for method in means)
    for name in dict.fromkeys(name for values in means.values() for name in values):
        cells = (f"{values[name]:.4g}" if name in values else "" for values in means.values())
        yield f"{name:18}" + "".join(f"{cell:>24}" for cell in cells)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(evaluate, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
