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


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of predict.py, those left out as the settings' file says.

    Raises:
        UserError: that file is broken.
    """
    parser = cli.ArgumentParser(description=__doc__)
    cfg = str(MODEL / "demo" / "cfg" / "birds-demo.yml")
    parser.add_argument("--cfg", metavar="FILE", default=cfg, help="settings")
    parser.add_argument("--caption", action="append", default=[], dest="sentences", help="a sentence; may be repeated")
    parser.add_argument("--gpu", type=cli.in_range(int, 0), metavar="N", help="which GPU or NPU (GPU_ID)")
    predict.add_flags(parser)
    settings = {**config.defaults(), **config.load(parser.parse_known_args(argv)[0].cfg)}
    model, captions = (find(settings[f"test_{name}"]) for name in ("pretrained_model", "caption_path"))
    parser.set_defaults(gpu=settings["gpu_id"], num=settings["test_num_copy"], ckpt_path=model, caption_path=captions)
    parser.set_defaults(output_path=Path("generated"), separate=True)
    return parser.parse_args(argv)


def find(path: str) -> Optional[str]:
    """A path of the settings' file: from the working folder, or else from this model's; None (for weights, pretrained/)
    where it is in neither."""
    places = [Path(path), MODEL / path] if path else []
    return next((str(place) for place in places if place.exists()), None)


def main(argv: Optional[Sequence[str]] = None) -> int:
    def demo() -> None:
        args = parse_args(argv)
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", str(args.gpu))
        os.environ.setdefault("ASCEND_DEVICE_ID", str(args.gpu))
        predict.predict(args)

    return cli.run_main(demo)


if __name__ == "__main__":
    cli.leave(main())
