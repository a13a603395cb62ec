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
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, Optional, Union

import _path  # noqa: F401  (finds ../common)
import numpy as np
from baseline import colour_table, mean_colours
from data import Pairs, find_pairs
from metrics import compare, frechet_distance, kernel_distance
from predict import Translator, add_generator_flags, load_translator, save_image
from tqdm import tqdm

from common import cli, images, weights
from common.cli import UserError

METHODS = {"generated": "generated", "mean_colour": "mean colour per label", "real": "real photographs"}
SHOWN = 100  # images in the gallery
TABLE_PAIRS = 400  # training pairs that the mean colours are taken from, at most
BLUR = """\
l1, psnr and ssim reward blur: where a label does not tell the colour, the mean colour is nearly their best answer.
The distances and the label read-back do not; real photographs show what can be reached."""

Means = dict[str, dict[str, float]]


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    add_generator_flags(parser)
    parser.add_argument("--data_path", metavar="DIR", help="pairs in train/ and val/ (default: the run's own)")
    parser.add_argument("--split", choices=["val", "test", "train"], default="val", help="which to measure on")
    count = cli.in_range(int, 1)
    parser.add_argument("--max_images", "--max_pictures", type=count, metavar="N", help="the first N of them")
    parser.add_argument("--vgg19_weights", metavar="FILE", help="of VGG19, as Keras publishes them")
    parser.add_argument("--inception", metavar="FILE", help="the frozen Inception graph of 2015-12-05, for FID and KID")
    cli.add_boolean(parser, "--readback", False, "facades: read the labels back; trains a small network on train/")
    parser.add_argument("--output_path", metavar="DIR", help="a new folder (default: evaluation in the run's, or here)")
    return parser.parse_args(argv)


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluates a generator, prints the metrics and writes the results to a new folder.

    Returns: what evaluation.json holds.
    Raises:
        UserError: no such weights or data, or data of another kind than the generator's.
    """
    translator = load_translator(args)
    options = translator.options
    data_path = args.data_path or getattr(options, "data_path", None)
    if not isinstance(data_path, str):  # an export's, or what a stranger's file says
        raise UserError("--data_path DIR is missing: pairs in train/ and val/")
    extractors = load_extractors(args)
    pairs = read_pairs(options, find_pairs(data_path, args.split)[: args.max_images])
    if extractors and len(pairs) < 2:
        raise UserError("a distance between sets needs two images at least, and there is 1")
    train_files = training_files(args.data_path, getattr(options, "data_path", None))
    reader = None
    if args.readback:
        import readback

        if not train_files or options.input_nc != 3 or options.output_nc != 3:
            raise UserError("--readback needs pairs in train/, three channels in and out")
        known = read_pairs(options, spread(train_files, TABLE_PAIRS))
        reader = readback.train_reader((known.halves(index) for index in range(len(known))), args.seed)
    run = "." if args.model or args.ckpt_path is None else weights.run_folder(translator.path)
    folder = cli.new_folder(args.output_path or Path(run) / "evaluation")
    place = os.path.abspath(pairs.files[0].parent)
    about = {"generator": os.path.abspath(translator.path), "data": place, "inference": args.inference}
    result = measure(translator, train_files, pairs, folder, {**about, "seed": args.seed}, extractors, reader)
    print(f"{len(pairs)} images of {place}, {options.which_direction}, {args.inference} inference")
    print(*table_lines(result["metrics"]), BLUR, sep="\n", flush=True)
    return result


def evaluate_run(
    args: argparse.Namespace,
    translator: Translator,
    train_files: Sequence[Path],
    val_files: Sequence[Path],
    folder: Union[str, Path],
) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics of a generator in training on the held-out pairs, and those of the mean colours.

    Args:
        args: of train.py.
        folder: takes the images, evaluation.json and gallery.html, anew where an evaluation was cut short.
    Returns:
        {"l1", "psnr", "ssim", "images"}, and {"l1", "psnr", "ssim"}.
    Raises:
        UserError: a file does not decode or is no such pair.
    """
    pairs = read_pairs(args, val_files)
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    means = measure(translator, train_files, pairs, folder, {"data": os.path.abspath(args.data_path)})["metrics"]
    return {**means["generated"], "images": len(pairs)}, means["mean_colour"]


def load_extractors(args: argparse.Namespace) -> dict[str, Callable]:
    """The functions that give an image's features, {"vgg19": ..., "inception": ...}: those that were asked for."""
    if not (args.vgg19_weights or args.inception):
        return {}
    from features import inception_features, vgg19_features

    asked = {"vgg19": (vgg19_features, args.vgg19_weights), "inception": (inception_features, args.inception)}
    return {name: load(file) for name, (load, file) in asked.items() if file}


def read_pairs(options: argparse.Namespace, files: Sequence[Path]) -> Pairs:
    """Pairs with each half scaled to `fine_size`, all looked at before anything is measured or written."""
    return Pairs(options, files, (options.fine_size, options.fine_size))


def spread(files: Sequence[Path], count: int) -> list[Path]:
    """At most `count` of the files, evenly over all of them."""
    return [files[index * len(files) // count] for index in range(count)] if len(files) > count else list(files)


def training_files(*data_paths: Optional[str]) -> list[Path]:
    """The training pairs of the first of these that has some; else none, told."""
    for path in data_paths:
        if isinstance(path, str) and images.find_images(Path(path) / "train"):
            return find_pairs(path, "train")
    cli.notice("no pairs in train/, neither in the data nor where the run had its own: no mean colours")
    return []


def measure(
    translator: Translator,
    train_files: Sequence[Path],
    pairs: Pairs,
    folder: Path,
    about: dict[str, Any],
    extractors: Optional[dict[str, Callable]] = None,
    reader: Optional[Callable] = None,
) -> dict[str, Any]:
    """Measures on pairs, and writes the generated images, evaluation.json and gallery.html.

    Args:
        train_files: pairs to take the mean colours and other real images from; none leaves both out.
        folder: takes what is written.
        about: what else evaluation.json tells.
        extractors: of features; with them the means hold the distances of the sets too.
        reader: of label maps; with it the means hold how right it reads.
    Returns: what evaluation.json holds: "metrics", the means {"generated": {"l1", ...}, "mean_colour": ..., "real":
        ...}, "per_image", ...
    """
    if reader:
        from readback import classes_of, confusion
        from readback import scores as read_scores
    answers: dict[str, Callable] = {"generated": translator}
    extractors, vectors, counts, others = extractors or {}, {}, {}, None
    if train_files:
        known = read_pairs(pairs.args, spread(train_files, TABLE_PAIRS))
        table = colour_table(known.halves(index) for index in range(len(known)))
        answers["mean_colour"] = lambda source: mean_colours(table, source)
        others = read_pairs(pairs.args, spread(known.files, len(pairs))) if extractors else None
    scores: dict[str, list] = {method: [] for method in answers}
    (folder / "generated").mkdir(exist_ok=True)
    stems, per_image, shown = Counter(path.stem for path in pairs.files), [], []
    for index, path in enumerate(tqdm(pairs.files, "evaluation", disable=None)):
        source, target = pairs.halves(index)
        made = {method: answer(source) for method, answer in answers.items()}
        for method, image in made.items():
            scores[method].append(compare(image, target))
        output = f"generated/{path.stem if stems[path.stem] == 1 else path.name}.png"
        save_image(made["generated"], folder / output)
        per_image.append({"file": path.name, "output": output, **scores["generated"][-1]})
        if index < SHOWN:
            columns = [("input", source), ("generated", made["generated"]), ("target", target)]
            shown.append((path.name, columns, scores["generated"][-1]))
        for name, extract in extractors.items():
            for method, image in {**made, "target": target}.items():
                vectors.setdefault((name, method), []).append(extract(image))
            if others and index < len(others):
                vectors.setdefault((name, "real"), []).append(extract(others.halves(index)[1]))
        if reader:
            for method, image in {**made, "real": target}.items():
                counts[method] = counts.get(method, 0) + confusion(reader(image), classes_of(source)[0])

    means: Means = {
        method: {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        for method, rows in scores.items()
    }
    for name, method in vectors:
        if method != "target" and len(vectors[name, method]) > 1:
            x, y = np.stack(vectors[name, method]), np.stack(vectors[name, "target"])
            distances = {f"frechet_{name}": frechet_distance(x, y), f"kernel_{name}": kernel_distance(x, y)}
            means.setdefault(method, {}).update(distances)
    for method, found in counts.items():
        means.setdefault(method, {}).update(read_scores(found))
    result = {**about, "images": len(pairs), "size": pairs.args.fine_size}
    result.update(which_direction=pairs.args.which_direction, metrics=means, per_image=per_image)
    (folder / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    title = f"Pix2Pix: {len(pairs)} images of {about['data']}, {pairs.args.which_direction}"
    images.write_page(folder / "gallery.html", title, {METHODS[name]: row for name, row in means.items()}, shown)
    cli.notice(f"wrote {folder}: generated/, evaluation.json, gallery.html")
    return result


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
