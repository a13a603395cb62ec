"""The original's entry: `test.py`, with its flags. (predict.py and evaluate.py do the same, and more.)

python SRGAN/test.py -ihr photographs -o output -m model/gen_model500.h5 -n 25 -t test_model
python SRGAN/test.py -ilr small_images -o output -m model/gen_model500.h5 -t test_lr_images

test_model makes the images of --input_hig_res small, enlarges them again, and writes, into a new folder, lr, sr and hr
side by side, with what evaluate.py writes. test_lr_images enlarges those of --input_low_res.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import evaluate
import numpy as np
import predict

from common import cli
from common.images import read_rgb

INPUTS = {"test_model": "input_hig_res", "test_lr_images": "input_low_res"}


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("-ihr", "--input_hig_res", type=Path, metavar="DIR", help="hr images, for test_model")
    parser.add_argument("-ilr", "--input_low_res", type=Path, metavar="DIR", help="lr images, for test_lr_images")
    parser.add_argument("-o", "--output_dir", default="output", metavar="DIR", help="where results go")
    parser.add_argument("-m", "--model_dir", required=True, metavar="PATH", help="an .h5 file, or a run's folder")
    parser.add_argument("-n", "--number_of_images", type=cli.in_range(int, 1), metavar="N", help="the first N (all)")
    parser.add_argument("-t", "--test_type", choices=list(INPUTS), default="test_model", help="what to do")
    predict.add_device_flags(parser, argv)
    args = parser.parse_args(argv)
    if getattr(args, INPUTS[args.test_type]) is None:
        parser.error(f"--test_type {args.test_type} needs --{INPUTS[args.test_type]} DIR")
    args.ckpt_path, args.model = model_path(args.model_dir), None
    return args


def measure_model(args: argparse.Namespace) -> None:
    """Measures a network on hr images and shows lr, sr and hr of each.

    Raises:
        UserError: no such network or images.
    """
    network = predict.load_network(args)
    name, scale = args.input_hig_res.name, network.scale
    options = argparse.Namespace(scale=scale, degradation="bicubic", lr_path=None, seed=0)
    files = evaluate.find("--input_hig_res", args.input_hig_res)[: args.number_of_images]
    files = evaluate.usable(options, files)
    folder = cli.new_folder(args.output_dir)
    rows = evaluate.measure(options, network, files, folder / "images")
    for number, row in enumerate(rows):
        lr, hr = evaluate.pair(options, Path(row["file"]), number)
        sheet = np.concatenate([lr.repeat(scale, 0).repeat(scale, 1), read_rgb(row["output"]), hr], 1)
        evaluate.save_image(sheet, folder / Path(row["output"]).name)
    print(*evaluate.table_lines(name, rows, scale), sep="\n", flush=True)
    evaluate.write_results(folder, options, {name: rows}, {"model": os.path.abspath(network.path)})


def enlarge_images(args: argparse.Namespace) -> None:
    """Enlarges lr images as predict.py does.

    Raises:
        UserError: no such network or images, or one that cannot be used.
    """
    files = evaluate.find("--input_low_res", args.input_low_res)[: args.number_of_images]
    words = ["--output_path", args.output_dir, "--suffix=", "--input", *map(str, files)]
    predict.predict(argparse.Namespace(**{**vars(predict.parse_args(words)), **vars(args)}))


def model_path(path: str) -> str:
    """The newest gen_model<epoch>.h5 of a folder that holds such files and no checkpoints, else `path` itself."""
    folder = Path(path)
    found = [] if (folder / "checkpoints").exists() else folder.glob("gen_model*.h5")
    epochs = {int(file.stem[9:]): file for file in found if file.stem[9:].isdecimal()}
    return str(epochs[max(epochs)]) if epochs else path


def main(argv: Optional[Sequence[str]] = None) -> int:
    args = parse_args(argv)
    return cli.run_main(measure_model if args.test_type == "test_model" else enlarge_images, args)


if __name__ == "__main__":
    cli.leave(main())
