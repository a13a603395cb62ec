"""Measures a trained SRNet on held-out samples, beside trivial baselines: MSE, PSNR and SSIM of its four images, the
dice of its skeletons, and with --ocr whether the words can be read.

python SRNet/evaluate.py --ckpt_path=SRNet/test/output/0
python SRNet/evaluate.py --data_path=other_words --ocr
python SRNet/evaluate.py --data_path=other_words --model=exported/final.onnx

o_f is compared with t_f, o_b with t_b, o_t with t_t and o_sk with t_sk, at the size of the training (64 x 128), as
papers do. Beside "ours": the source crop unchanged, the true background (erased), inpainted where the word was, plain
grey, the standard image i_t, the mean skeleton, and the target itself for --ocr. metrics.py tells the conventions.
Samples that cannot be used are left out, with a notice.

A new folder, `evaluation` or `evaluation-2`, ..., takes the four images of each sample, evaluation.json and
gallery.html, which shows them and the seven of the data for some samples.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import _path  # noqa: F401  (finds ../common)
import data
import numpy as np
import ocr
import predict
from data import resized
from metrics import baselines, compare, psnr
from PIL import Image
from tqdm import tqdm

from common import cli, weights
from common.cli import UserError, notice
from common.images import write_page

TARGETS = {"o_f": "t_f", "o_b": "t_b", "o_t": "t_t", "o_sk": "t_sk"}
SHOWN = 60  # samples in the gallery, evenly from all

Images = dict[str, np.ndarray]
Scores = dict[str, float]  # {"o_f/ours/psnr": 16.6, ...}: the output, the method, the metric


def evaluate_run(
    editor: predict.Editor, samples: Sequence[data.Sample], folder: str
) -> tuple[dict[str, float], dict[str, float]]:
    """The mean metrics of a generator in training, and of the trivial baselines; see `measure`.

    Returns:
        {"o_f_mse", "o_f_psnr", "o_f_ssim", "o_b_mse", ..., "o_sk_dice", "samples"}, and the same names with the best of
        all baselines to each, and with a baseline's name before it: "source_o_b_psnr".
    Raises:
        UserError: none of the samples can be used.
    """
    result = measure(editor, samples, folder)
    ours, trivial = {"samples": result["samples"]}, {}
    for key, value in result["metrics"].items():
        output, method, name = key.split("/")
        if method == "ours":
            ours[f"{output}_{name}"] = value
        else:
            trivial[f"{method}_{output}_{name}"] = value
            best = trivial.get(f"{output}_{name}", value)
            trivial[f"{output}_{name}"] = min(best, value) if name == "mse" else max(best, value)
    return ours, trivial


def usable(samples: Sequence[data.Sample], size: Sequence[int]) -> tuple[list[data.Sample], np.ndarray]:
    """The samples whose images can be used, and the mean of their skeletons at `size`, uint8 [h, w, 1]."""
    good, total = [], np.zeros([*size, 1])
    for folder, name in tqdm(samples, "reading", unit="", disable=None):
        try:
            total += resized(data.read_sample(folder, name)["t_sk"], size)
            good.append((folder, name))
        except UserError as error:
            notice(f"left out: {error}")
    if not good:
        raise UserError("none of the samples can be measured")
    return good, np.round(total / len(good)).astype(np.uint8)


def measure(
    editor: predict.Editor, samples: Sequence[data.Sample], folder: Any, reader: Optional[ocr.Reader] = None
) -> dict[str, Any]:
    """Measures on samples and writes a new folder.

    Args:
        folder: takes evaluation.json, gallery.html and the network's images, images/o_f/NAME.png, ...; <folder>-2, ...
            where it is there already.
        reader: reads the words.
    Returns:
        What evaluation.json holds: "metrics" has the means: {"o_f/ours/psnr", ..., "o_sk/mean/dice",
        "ocr/target/word_accuracy", ...}; "per_sample" the same of each sample.
    Raises:
        UserError: none of the samples can be used.
    """
    size, tight = tuple(editor.options.data_shape), getattr(editor.options, "tight_text", False)
    samples, mean_skeleton = usable(samples, size)
    folder = cli.new_folder(folder)
    chosen = {number * len(samples) // SHOWN for number in range(SHOWN)}
    rows, shown = {}, []
    for number, (path, name) in enumerate(tqdm(samples, "measuring", unit="", disable=None)):
        sample = data.read_sample(path, name, tight)
        ours = editor.generate(sample["i_t"], sample["i_s"])
        at_size, images = ({kind: resized(x, size) for kind, x in group.items()} for group in (sample, ours))
        others = baselines(at_size, mean_skeleton)
        for output in TARGETS:
            file = cli.new_file(folder / "images" / output / f"{Path(name).stem}.png")
            Image.fromarray(ours[output].squeeze()).save(file)
        row = {
            f"{output}/{method}/{metric}": value
            for output, target in TARGETS.items()
            for method, image in {"ours": images[output], **others[output]}.items()
            for metric, value in compare(image, at_size[target], output == "o_sk").items()
        }
        if reader:
            o_f = resized(ours["o_f"], sample["i_s"].shape[:2])
            row.update(read_words(reader, data.wanted_word(path, name), o_f, sample))
        rows[str(path / "i_s" / name)] = row
        if number in chosen:
            shown.append(gallery_row(name, {**at_size, **images, "inpainted": others["o_b"]["inpainted"]}))
    result = {
        "weights": os.path.abspath(editor.path),
        "data": os.path.abspath(samples[0][0]),
        "samples": len(rows),
        "size": list(size),
        "conventions": "of 8-bit images, means over them; mse: white is 1; psnr: peak 255; ssim: Gaussian 11 x 11, "
        "range 255; dice: 1 where skeletons agree; ned: 1 less edit distance over length, of letters and digits",
        "metrics": {key: float(np.mean([scores[key] for scores in rows.values()])) for key in row},
        "per_sample": rows,
    }
    title = f"{len(rows)} samples of {result['data']}, {size[0]} x {size[1]}"
    (folder / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    write_page(folder / "gallery.html", f"SRNet: {title}", table(result["metrics"]), shown)
    notice(f"{title}: wrote images/, evaluation.json and gallery.html in {folder}")
    return result


def read_words(reader: ocr.Reader, word: Optional[str], o_f: np.ndarray, sample: Images) -> Scores:
    """How far what is read agrees with the wanted word, or where that was not noted with what is read in i_t."""
    wanted = word or reader.read(sample["i_t"])
    return {
        f"ocr/{method}/{metric}": value
        for method, image in (("ours", o_f), ("target", sample["t_f"]), ("source", sample["i_s"]))
        for metric, value in ocr.agreement(reader.read(image), wanted).items()
    }


def gallery_row(name: str, images: Images) -> tuple:
    """Six columns of two: what is given, each output above its target, and what else there is."""
    columns = []
    for top, bottom in (("i_s", "i_t"), *TARGETS.items(), ("inpainted", "mask_t")):
        both = [np.broadcast_to(images[kind], (*images[kind].shape[:2], 3)) for kind in (top, bottom)]
        columns.append((f"{top}, below: {bottom}", np.concatenate(both)))
    values = {"o_f psnr": psnr(images["o_f"], images["t_f"]), "source's psnr": psnr(images["i_s"], images["t_f"])}
    return name, columns, values


def table(scores: Scores) -> dict[str, Scores]:
    """{"o_f/ours": {"psnr": 16.6, ...}, ...}."""
    lines: dict[str, Scores] = {}
    for key, value in scores.items():
        method, metric = key.rsplit("/", 1)
        lines.setdefault(method, {})[metric] = value
    return lines


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    predict.add_editor_flags(parser)
    what = "samples, of which val/ is measured (without: the held-out ones of the run's own)"
    parser.add_argument("--data_path", metavar="DIR", help=what)
    cli.add_boolean(parser, "--ocr", False, "read the words: accuracy and edit distance (rapidocr-onnxruntime)")
    what = "a new folder for the results (without: evaluation in the run's folder, or here)"
    parser.add_argument("--output_path", metavar="DIR", help=what)
    args = parser.parse_args(argv)
    if args.model and not args.data_path:
        parser.error("--model: an export does not say what it was trained on; give --data_path")
    return args


def held_out(data_path: Optional[str], options: argparse.Namespace) -> list[data.Sample]:
    """The samples that a run did not train on: those in val/, else of its own data as it was split, else, since it was
    not trained on the folder, all of them."""
    trained = getattr(options, "data_path", None)
    path = str(Path(data_path or trained or ".").expanduser())
    folder = data.root(path)
    own = trained and os.path.realpath(folder) == os.path.realpath(data.root(trained))
    if own or (folder / "train").is_dir() and (folder / "val").is_dir():
        return data.split(path)[1]
    return [(folder, name) for name in data.find_samples(folder)]


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluates a checkpoint or an export, and returns what evaluation.json holds."""
    reader = ocr.Reader() if args.ocr else None
    editor = predict.open_editor(args)
    run = weights.run_folder(editor.path)
    here = "evaluation" if args.model or run == predict.HERE / "pretrained" else run / "evaluation"
    samples = held_out(args.data_path, editor.options)
    result = measure(editor, samples, args.output_path or here, reader)
    for method, row in table(result["metrics"]).items():
        print(f"{method:20}", *(f" {metric} {value:.4f}" for metric, value in row.items()))
    return result


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(evaluate, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
