"""The original's entry: `test.py`, with its flags. (predict.py and evaluate.py do the same, and more.)

python SRGAN/test.py -ihr photographs -o output -m model/gen_model500.h5 -n 25 -t test_model
python SRGAN/test.py -ilr small_pictures -o output -m model/gen_model500.h5 -t test_lr_images

test_model makes the pictures of --input_hig_res small, enlarges them again, and writes, into a new folder, small one,
enlarged one and original side by side, with what evaluate.py writes. test_lr_images enlarges those of --input_low_res.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import baseline
import evaluate
import numpy as np
import predict
import trained
from PIL import Image

from common import cli
from common.session import add_device_flags, device_config, open_session

INPUTS = {"test_model": "input_hig_res", "test_lr_images": "input_low_res"}


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-ihr", "--input_hig_res", type=Path, metavar="DIR", help="large pictures, for test_model")
    parser.add_argument("-ilr", "--input_low_res", type=Path, metavar="DIR", help="small ones, for test_lr_images")
    parser.add_argument("-o", "--output_dir", default="output", metavar="DIR", help="where results go (output)")
    parser.add_argument(
        "-m", "--model_dir", required=True, metavar="PATH", help="a model's .h5 file, or a run's folder"
    )
    parser.add_argument("-n", "--number_of_images", type=cli.in_range(int, 1), metavar="N", help="the first N (all)")
    parser.add_argument("-t", "--test_type", choices=list(INPUTS), default="test_model", help="(test_model)")
    add_device_flags(parser)
    args = parser.parse_args(argv)
    if getattr(args, INPUTS[args.test_type]) is None:
        parser.error(f"--test_type {args.test_type} needs --{INPUTS[args.test_type]} DIR")
    return args


def measure_model(args: argparse.Namespace) -> None:
    """Measures a model on large pictures and shows each beside the small one and the enlarged one.

    Raises:
        UserError: no such model or pictures.
    """
    open_session(device_config(args))
    model = trained.load(model_path(args.model_dir))
    scale = model.options.scale
    files = evaluate.usable(evaluate.find("--input_hig_res", args.input_hig_res)[: args.number_of_images], scale)
    folder = cli.new_folder(args.output_dir)
    rows = evaluate.measure(model, scale, files, folder / "pictures")
    for row in rows:
        target = evaluate.original(Path(row["file"]), scale)
        small = baseline.shrink(target, scale).repeat(scale, 0).repeat(scale, 1)
        with Image.open(row["output"]) as enlarged:
            evaluate.save_picture(np.concatenate([small, enlarged, target], 1), folder / Path(row["output"]).name)
    print(*evaluate.table_lines(args.input_hig_res.name, rows, scale), sep="\n", flush=True)
    about = {"model": os.path.abspath(model.prefix)}
    evaluate.write_results(folder, scale, {args.input_hig_res.name: rows}, about)


def enlarge_pictures(args: argparse.Namespace) -> None:
    """Enlarges small pictures as predict.py does.

    Raises:
        UserError: no such model or pictures, or one that cannot be used.
    """
    files = evaluate.find("--input_low_res", args.input_low_res)[: args.number_of_images]
    words = ["--ckpt_path", model_path(args.model_dir), "--output_path", args.output_dir, "--input", *map(str, files)]
    predict.predict(argparse.Namespace(**{**vars(predict.parse_args(words)), **vars(args)}))


def model_path(path: str) -> str:
    """The newest gen_model<epoch>.h5 of a folder that holds such files and no checkpoints, else `path` itself."""
    folder = Path(path)
    found = [] if (folder / "checkpoints").exists() else folder.glob("gen_model*.h5")
    epochs = {int(file.stem[9:]): file for file in found if file.stem[9:].isdecimal()}
    return str(epochs[max(epochs)]) if epochs else path


def main(argv: Optional[Sequence[str]] = None) -> int:
    args = parse_args(argv)
    return cli.call(measure_model if args.test_type == "test_model" else enlarge_pictures, args)


if __name__ == "__main__":
    sys.exit(main())
