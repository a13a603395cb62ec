"""The original's entry: `test.py`, with its flags. (predict.py and evaluate.py do the same, and more.)

python SRGAN/test.py -ihr photographs -o output -m model/gen_model500.h5 -n 25 -t test_model
python SRGAN/test.py -ilr small_images -o output -m model/gen_model500.h5 -t test_lr_images

test_model makes the images of --input_hig_res small and enlarges them again: evaluate.py, whose page.html shows lr, sr
and hr side by side. test_lr_images enlarges those of --input_low_res: predict.py.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import data
import evaluate
import predict

from common import cli

INPUTS = {"test_model": "input_hig_res", "test_lr_images": "input_low_res"}


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("-ihr", "--input_hig_res", type=Path, metavar="DIR", help="hr images, for test_model")
    parser.add_argument("-ilr", "--input_low_res", type=Path, metavar="DIR", help="lr images, for test_lr_images")
    parser.add_argument("-o", "--output_dir", default="output", metavar="DIR", help="where results go")
    parser.add_argument("-m", "--model_dir", required=True, metavar="PATH", help="an .h5 file, or a run's folder")
    parser.add_argument("-n", "--number_of_images", type=cli.in_range(int, 1), metavar="N", help="the first N (all)")
    parser.add_argument("-t", "--test_type", choices=list(INPUTS), default="test_model", help="what to do")
    args = parser.parse_args(argv)
    if getattr(args, INPUTS[args.test_type]) is None:
        parser.error(f"--test_type {args.test_type} needs --{INPUTS[args.test_type]} DIR")
    return cli.run_main(test, args)


def test(args: argparse.Namespace) -> None:
    """What `--test_type` says.

    Raises:
        UserError: no such network or images, or one that cannot be used.
    """
    flags = [f"--ckpt_path={args.model_dir}", f"--output_path={args.output_dir}"]
    if args.test_type == "test_model":
        flags += ["--sets", f"{args.input_hig_res.resolve().name}={args.input_hig_res}"]
        flags += [f"--max_images={args.number_of_images}"] * bool(args.number_of_images)
        evaluate.evaluate(evaluate.parse_args(flags))
    else:
        files = data.find_images(args.input_low_res, "--input_low_res ")[: args.number_of_images]
        predict.predict(predict.parse_args([*flags, "--suffix=", *map(str, files)]))


if __name__ == "__main__":
    cli.leave(main())
