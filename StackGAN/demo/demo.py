"""The original's demo: images of sentences. predict.py does the same, and says more.

python demo/demo.py --cfg demo/cfg/birds-demo.yml --caption_path sentences.txt
python StackGAN/demo/demo.py --ckpt_path=RUN --caption="a small red bird with a white belly" --output_path=images

What the flags leave out is what the settings' file says under TEST. Into --output_path go a sheet for each sentence, a
row a stage, and each image alone.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

MODEL = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(MODEL))

import _path  # noqa: E402, F401  (finds ../common)
import predict  # noqa: E402
from misc import config  # noqa: E402

from common import cli  # noqa: E402

CFG = MODEL / "demo" / "cfg" / "birds-demo.yml"


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of predict.py, those left out as the settings' file says.

    Raises:
        UserError: that file is broken.
    """
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--cfg", metavar="FILE", default=str(CFG), help="settings")
    parser.add_argument("--caption", action="append", default=[], dest="sentences", help="a sentence; may be repeated")
    parser.add_argument("--gpu", type=cli.in_range(int, 0), metavar="N", help="which GPU or NPU (GPU_ID)")
    predict.add_flags(parser, None)
    parser.set_defaults(output_path=Path("generated"), separate=True)
    args = parser.parse_args(argv)
    settings = {**config.defaults(), **config.load(args.cfg)}
    args.gpu = settings["gpu_id"] if args.gpu is None else args.gpu
    args.num = args.num or settings["test_num_copy"]
    if not args.model:
        args.ckpt_path = args.ckpt_path or from_settings(settings["test_pretrained_model"])
    if not (args.sentences or args.caption_path or args.embeddings):
        args.caption_path = from_settings(settings["test_caption_path"])
    if not (args.sentences or args.caption_path or args.embeddings):
        parser.error('nothing to show: give --caption="a red bird" or --caption_path FILE')
    return args


def from_settings(path: str) -> Optional[str]:
    """A path of the settings' file: from the working folder, or else from this model's; None (for weights, pretrained/)
    where it is in neither."""
    if not path or Path(path).exists():
        return path or None
    return str(MODEL / path) if (MODEL / path).exists() else None


def main(argv: Optional[Sequence[str]] = None) -> int:
    def demo() -> None:
        args = parse_args(argv)
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", str(args.gpu))
        os.environ.setdefault("ASCEND_DEVICE_ID", str(args.gpu))
        predict.predict(args)

    return cli.run_main(demo)


if __name__ == "__main__":
    cli.leave(main())
