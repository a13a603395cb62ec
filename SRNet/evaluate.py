"""Measures a trained SRNet on held-out samples: MSE, PSNR and SSIM of its four pictures, beside what needs no learning.

python SRNet/evaluate.py --ckpt_path=SRNet/test/output/0
python SRNet/evaluate.py --ckpt_path=RUN --data_path=other_words --max_samples=1000

o_f is compared with t_f, o_b with t_b, o_t with t_t and o_sk with t_sk, of skeletons their dice too; metrics.py tells
the conventions and baseline.py the trivial answers. All samples are brought to the size that the run was trained at.

A new folder, `evaluation` or `evaluation-2`, ..., takes the four pictures of each sample, evaluation.json and
gallery.html, which shows them and the seven of the data for some samples.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, Optional, Union

import _path  # noqa: F401  (finds ../common)
import baseline
import data
import numpy as np
import tensorflow as tf
import trained
from metrics import compare
from PIL import Image
from tensorflow import keras
from tqdm import tqdm
from trained import OUTPUTS, RANGE, RANGES

from common import cli
from common.cli import UserError
from common.gallery import Row, write_gallery
from common.pictures import scale, to_uint8
from common.session import add_device_flags, device_config, notice, open_session

TARGETS = {"o_f": "t_f", "o_b": "t_b", "o_t": "t_t", "o_sk": "t_sk"}
METHODS = {  # of baseline.py, in words
    "source": "source crop unchanged",
    "inpainted": "inpainted (biharmonic)",
    "grey": "plain grey",
    "standard": "standard picture (i_t)",
}
BATCH = 8  # samples that are drawn at a time
SHOWN = 60  # samples in the gallery, evenly from all
TOLD = (("o_f", "psnr"), ("o_f", "ssim"), ("o_b", "psnr"), ("o_t", "psnr"), ("o_sk", "dice"))  # of each of them
GAP = 4  # pixels between a picture and the one below it in the gallery

Pictures = dict[str, np.ndarray]
Means = dict[str, dict[str, dict[str, float]]]  # by output, by method, by metric


def evaluate_run(
    args: argparse.Namespace,
    generator: keras.Model,
    samples: Sequence[data.Sample],
    folder: Union[str, Path, None] = None,
) -> tuple[dict[str, float], dict[str, float]]:
    """The mean metrics of a generator, and of the answers that need no learning.

    Args:
        args: of train.py, or a run's options.
        samples: those that cannot be used are left out, with a notice.
        folder: takes the pictures, evaluation.json and gallery.html; <folder>-2, ... where it is there already.
    Returns:
        {"o_f_mse", "o_f_psnr", "o_f_ssim", "o_b_mse", ..., "o_sk_dice", "samples"}, and the same names of the first
        answer of `baseline.answers` to each, of further ones with their name before it: "source_o_b_psnr".
    Raises:
        UserError: none of the samples can be used.
    """
    samples = usable(samples)
    folder = cli.new_folder(folder) if folder else None
    rows, shown = measure(generator, samples, args.data_shape, folder and folder / "pictures")
    values = means(rows)
    if folder:
        write_results(folder, args, rows, values, shown, {"data": os.path.abspath(args.data_path)})
    metrics, trivial = {}, {}
    for output, methods in values.items():
        first = next(method for method in methods if method != "ours")
        for method, row in methods.items():
            prefix = "" if method in ("ours", first) else f"{method}_"
            into = metrics if method == "ours" else trivial
            into.update({f"{prefix}{output}_{name}": value for name, value in row.items()})
    return {**metrics, "samples": len(rows)}, trivial


def usable(samples: Sequence[data.Sample], skip_bad: bool = True) -> list[data.Sample]:
    """The samples whose pictures decode and are of one size; tells which are not.

    Raises:
        UserError: one is not, where those are not skipped, or none is.
    """
    good, bad = [], []
    for folder, name in tqdm(samples, "reading", unit="", disable=None):
        try:
            data.read_sample(folder, name)
        except UserError as error:
            if not skip_bad:
                raise
            bad.append(str(error))
        else:
            good.append((folder, name))
    if bad:
        notice(f"{len(bad)} of {len(samples)} samples left out: {'; '.join(bad[:5])}")
    if not good:
        raise UserError("none of the samples can be measured")
    return good


def drawer(generator: keras.Model, size: Sequence[int], batch: int = BATCH) -> Callable[[Any, Any], Pictures]:
    """A function of i_t and i_s, uint8 [n, *size, 3] each, n at most `batch`, that gives the four pictures as uint8.

    It is traced once: fewer are padded to a whole batch. No picture depends on the others in its batch.

    Raises (the function):
        UserError: the network draws numbers that are not finite.
    """
    signature = [tf.TensorSpec([batch, *size, 3], tf.float32)] * 2
    draw = tf.function(lambda i_t, i_s: generator([i_t, i_s], training=False), input_signature=signature)

    def pictures(i_t: np.ndarray, i_s: np.ndarray) -> Pictures:
        n = len(i_t)
        inputs = [scale(np.concatenate([x, np.repeat(x[-1:], batch - n, 0)]), RANGE) for x in (i_t, i_s)]
        drawn = [values.numpy()[:n] for values in draw(*map(tf.constant, inputs))]
        if not all(np.isfinite(values).all() for values in drawn):
            raise UserError(
                "the network draws numbers that are not finite: its run diverged; use an earlier checkpoint"
            )
        return {name: to_uint8(values, RANGES[name]) for name, values in zip(OUTPUTS, drawn)}

    return pictures


def read(sample: data.Sample, size: Sequence[int]) -> Pictures:
    """The seven pictures of a sample at a size."""
    return {kind: data.resized(picture, tuple(size)) for kind, picture in data.read_sample(*sample).items()}


def measure(
    generator: keras.Model,
    samples: Sequence[data.Sample],
    size: Sequence[int],
    folder: Optional[Path] = None,
) -> tuple[list[dict[str, Any]], list[tuple[int, Pictures]]]:
    """Each sample's metrics, and the pictures of some.

    Args:
        size: height and width that all are brought to.
        folder: takes the network's pictures as o_f/NAME.png, o_b/NAME.png, ...
    Returns:
        [{"file", "o_f": {"ours": {"mse", "psnr", "ssim"}, "source": ...}, "o_b": ..., "o_t": ..., "o_sk": ...}, ...],
        and (number, the seven pictures, the four and "inpainted") of SHOWN samples.
    """
    draw = drawer(generator, size)
    chosen = {number * len(samples) // SHOWN for number in range(SHOWN)}
    rows, shown = [], []
    bar = tqdm(total=len(samples), desc="measuring", unit="", disable=None)
    for start in range(0, len(samples), BATCH):
        given = [read(sample, size) for sample in samples[start : start + BATCH]]
        drawn = draw(*(np.stack([one[kind] for one in given]) for kind in ("i_t", "i_s")))
        for number, sample in enumerate(given, start):
            ours = {name: pictures[number - start] for name, pictures in drawn.items()}
            path, name = samples[number]
            row, others = {"file": str(path / "i_s" / name)}, baseline.answers(sample)
            for output, target in TARGETS.items():
                answers = {"ours": ours[output], **others[output]}
                row[output] = {
                    method: compare(picture, sample[target], output == "o_sk") for method, picture in answers.items()
                }
            rows.append(row)
            if folder:
                row["outputs"] = {output: save_picture(ours[output], folder / output, name) for output in TARGETS}
            if number in chosen:
                shown.append((number, {**sample, **ours, "inpainted": others["o_b"]["inpainted"]}))
            bar.update()
    bar.close()
    return rows, shown


def save_picture(picture: np.ndarray, folder: Path, name: str) -> str:
    """Writes uint8 [h, w, 1 or 3] as a new PNG and returns its path from the folder of all pictures."""
    path = cli.new_file(folder / f"{Path(name).stem}.png")
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(path)
    return f"{folder.name}/{path.name}"


def means(rows: Sequence[dict[str, Any]]) -> Means:
    """The mean of each metric: {"o_f": {"ours": {"mse", "psnr", "ssim"}, "source": ...}, ...}."""
    return {
        output: {
            method: {name: float(np.mean([row[output][method][name] for row in rows])) for name in values}
            for method, values in rows[0][output].items()
        }
        for output in TARGETS
    }


def write_results(
    folder: Path,
    options: argparse.Namespace,
    rows: Sequence[dict[str, Any]],
    values: Means,
    shown: Sequence[tuple[int, Pictures]],
    about: dict[str, Any],
) -> dict[str, Any]:
    """Writes evaluation.json and gallery.html beside the pictures of `measure`, and returns what the former holds."""
    result = {
        **about,
        "samples": len(rows),
        "size": list(options.data_shape),
        "conventions": "of 8-bit pictures, means over them; mse: white is 1; psnr: peak 255; ssim: Gaussian 11 x 11, "
        "range 255; dice: 1 where skeletons agree",
        "metrics": values,
        "per_sample": rows,
    }
    (folder / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    table = {f"{output}: {told(method)}": row for output, methods in values.items() for method, row in methods.items()}
    height, width = options.data_shape
    title = f"SRNet: {len(rows)} samples of {about['data']}, {height} x {width}"
    pairs = gallery_rows(rows, shown)
    count = write_gallery(folder / "gallery.html", title, table, pairs, len(shown), "o_f psnr", largest_first=True)
    notice(f"wrote {folder}: pictures/, evaluation.json, gallery.html with {count} of {len(rows)} samples")
    return result


def gallery_rows(rows: Sequence[dict[str, Any]], shown: Sequence[tuple[int, Pictures]]) -> Iterator[Row]:
    """Six columns of two: what is given, each output above its target, and what else there is."""
    pairs = [("i_s", "i_t"), *((output, TARGETS[output]) for output in OUTPUTS)]
    for number, pictures in shown:
        row = rows[number]
        columns = [(f"{top}, below: {bottom}", stacked(pictures, top, bottom)) for top, bottom in pairs]
        columns.append(("i_s inpainted, below: mask_t", stacked(pictures, "inpainted", "mask_t")))
        scores = {f"{output} {metric}": row[output]["ours"][metric] for output, metric in TOLD}
        scores["source's psnr"] = row["o_f"]["source"]["psnr"]
        yield Row(Path(row["file"]).name, columns, scores)


def stacked(pictures: Pictures, top: str, bottom: str) -> np.ndarray:
    """Two pictures of one width above each other, RGB, with a white line between them."""
    both = [np.broadcast_to(pictures[name], (*pictures[name].shape[:2], 3)) for name in (top, bottom)]
    return np.concatenate([both[0], np.full((GAP, both[0].shape[1], 3), 255, np.uint8), both[1]])


def told(method: str) -> str:
    return METHODS.get(method, method)


def table_lines(values: Means) -> Iterator[str]:
    """The means as a table for the terminal."""
    yield f"{'':32}" + "".join(f"{name:>10}" for name in ("mse", "psnr", "ssim", "dice"))
    for output, methods in values.items():
        for method, row in methods.items():
            cells = "".join(f"{value:10.{2 if name == 'psnr' else 4}f}" for name, value in row.items())
            yield f"{output if method == 'ours' else '':6}{told(method):26}{cells}"


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", required=True, metavar="PATH", help="a run's folder, or one checkpoint in it")
    parser.add_argument("--data_path", metavar="DIR", help="samples, of which val/ is measured (the run's own)")
    parser.add_argument("--max_samples", type=cli.in_range(int, 1), metavar="N", help="the first N of them (all)")
    parser.add_argument("--output_path", metavar="DIR", help="a new folder for the results (evaluation in the run's)")
    add_device_flags(parser)
    return parser.parse_args(argv)


def held_out(data_path: Optional[str], options: argparse.Namespace) -> list[data.Sample]:
    """The samples that a run did not train on: those in val/, else of its own data as it was split, else, since it was
    not trained on the folder, all of them.

    Raises:
        UserError: one of the seven folders is missing, or their names do not match.
    """
    path = str(Path(data_path or options.data_path).expanduser())
    folder = data.root(path)
    own = os.path.realpath(folder) == os.path.realpath(data.root(options.data_path))
    if own or (folder / "train").is_dir() and (folder / "val").is_dir():
        return data.split(argparse.Namespace(**{**vars(options), "data_path": path}))[1]
    return [(folder, name) for name in data.find_samples(folder)]


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluates a checkpoint, prints the metrics and writes the results to a new folder.

    Returns: what evaluation.json holds.
    Raises:
        UserError: no such checkpoint or data, or a sample that cannot be used.
    """
    open_session(device_config(args))
    model = trained.load(args.ckpt_path)
    samples = usable(held_out(args.data_path, model.options)[: args.max_samples], skip_bad=False)
    folder = cli.new_folder(args.output_path or model.run_folder / "evaluation")
    rows, shown = measure(model.generator, samples, model.options.data_shape, folder / "pictures")
    values, (height, width) = means(rows), model.options.data_shape
    about = {"checkpoint": os.path.abspath(model.prefix), "data": os.path.abspath(samples[0][0])}
    print(f"{len(samples)} samples of {about['data']}, {height} x {width}")
    print(*table_lines(values), sep="\n")
    return write_results(folder, model.options, rows, values, shown, about)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(evaluate, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
