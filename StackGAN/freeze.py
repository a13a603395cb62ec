"""Exports a trained StackGAN: a frozen .pb for Ascend's ATC, a SavedModel, an ONNX file, or its weights alone.

python StackGAN/freeze.py --ckpt_path=RUN --output_path=exported --soc_version=Ascend310P3
python StackGAN/freeze.py --ckpt_path=RUN --output_path=small --format=weights
python StackGAN/freeze.py --ckpt_path=RUN --output_path=. --check=exported/model.om

model.pb is as the ModelZoo README has it: from `Placeholder` [1, 64, 1024], the embeddings of 64 sentences
(--batch_size), so that its atc line fits. generator_saved_model and generator.onnx hold the same networks from
`embedding` [any, 1024]. All take the noise too, so that the same inputs give the same images: `eps`, stage I's, and
`eps_2`, stage II's, of a truncated normal distribution, and `z` of a normal one; zeros give the mean image. They give
`image_64` and, of weights of both stages, `image_256`; float32, black -1 and white 1. The text encoder goes
beside them, so that predict.py --model=FILE reads sentences.

--format=weights writes stage1.safetensors, of both stages stage2.safetensors too, and the text encoder, in float16.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, Optional

import _path  # noqa: F401  (finds ../common)
import model as models
import numpy as np
import predict
import tensorflow as tf
import text_encoder

from common import cli, weights
from common.cli import UserError
from common.export import add_export_flags, begin_export, export

NAMES = {"pb": "model", "saved_model": "generator", "onnx": "generator"}  # the .pb's is the ModelZoo README's
BATCH = 64  # the ModelZoo README's
# Two thirds of a grey level. Rounding errors add up over thirty layers, and the batch norm of a generator that has
# hardly been trained enlarges them a hundredfold: up to 1e-3 was seen after two steps.
TOLERANCE = 5e-3
DESCRIPTION = {
    **dict.fromkeys(predict.EMBEDDINGS, "embeddings of sentences"),
    "eps": "noise of stage I's condition, truncated normal",
    "z": "noise, normal",
    "eps_2": "noise of stage II's condition, truncated normal",
    "image_64": "stage I's RGB images, black -1, white 1",
    "image_256": "stage II's, likewise",
}


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    add_export_flags(parser)
    parser.set_defaults(batch_size=BATCH)
    return parser.parse_args(argv)


def function(generator: models.Generator, embedding: str) -> Callable[[dict], dict]:
    """The networks from named inputs to named outputs; `embedding` is what the embeddings are called."""

    def images(inputs):
        rows = -1 if inputs["z"].shape[0] is None else inputs["z"].shape[0]
        embeddings = tf.reshape(inputs[embedding], [rows, generator.sizes[0]])
        made = generator.function(embeddings, inputs["eps"], inputs["z"], inputs.get("eps_2"))
        return dict(zip(predict.OUTPUTS.values(), made))

    return images


def example(generator: models.Generator, n: int, embedding: str) -> dict[str, np.ndarray]:
    """Inputs to try."""
    eps, z = predict.latents(n, 0, generator.sizes)
    rows = np.random.default_rng(0).standard_normal([n, generator.sizes[0]]).astype(np.float32)
    inputs = {embedding: rows[None] if embedding == "Placeholder" else rows, "eps": eps[0], "z": z}
    return inputs if generator.stage2 is None else {**inputs, "eps_2": eps[1]}


def save_weights(found: weights.Weights, folder: Path) -> None:
    """Writes the generators' weights alone, a file a stage."""
    parts = {1: "stage1_generator", 2: "generator"} if found.about["stage"] == 2 else {1: "generator"}
    for stage, part in parts.items():
        if not any(name.startswith(f"{part}/") for name in found.tensors):
            continue  # it has a file of its own already
        tensors = {f"generator/{name}": array for name, array in found.part(part).items()}
        about, path = {**found.about, "stage": stage}, folder / f"stage{stage}{weights.ENDING}"
        weights.save(path, models.NETWORK, tensors, vars(found.options), about, found.step, half=True)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, float16")


def save_encoder(path: Path, to: Path) -> None:
    """Writes what of a text encoder reads sentences: predict.py needs no images' side."""
    found = weights.load(path, text_encoder.NETWORK, "")
    tensors = {name: array for name, array in found.tensors.items() if name.startswith("text/")}
    about = {"words": found.about["words"]}
    weights.save(to, text_encoder.NETWORK, tensors, vars(found.options), about, found.step, half=True)
    print(f"{to}: {to.stat().st_size / 1e6:.1f} MB, the sentences' side of the text encoder, for predict.py")


def freeze(args: argparse.Namespace) -> None:
    """Exports the generators.

    Raises:
        UserError: no such weights, a package that is missing, a file that is there already or cannot be written.
    """
    formats, folder = args.format, Path(args.output_path).expanduser()
    alone = "weights" in formats and not args.check
    if alone and any((folder / f"stage{stage}{weights.ENDING}").exists() for stage in (1, 2)):
        raise UserError(f"--output_path {folder} holds weights already; name another folder")
    args.format = [form for form in formats if form != "weights"]
    begin_export(sorted({NAMES[form] for form in args.format}), args)
    found = models.find_weights(args.ckpt_path)
    generator = models.load_generator(found)
    if alone:
        save_weights(found, folder)
    chosen = args.format
    targets = [("model", "Placeholder", args.batch_size), ("generator", "embedding", 2)]
    if args.check:
        other = predict.ExportedGenerator(args.check)
        targets = [("", other.first, other.fixed or 2)]
        del other  # a device has room for one
    for name, embedding, n in targets:
        args.format = [form for form in chosen if NAMES[form] == name]
        if not args.format and not args.check:
            continue
        x, images = example(generator, n, embedding), function(generator, embedding)
        try:
            outputs = images({name: tf.constant(array) for name, array in x.items()})
            expected = {name: y.numpy() for name, y in outputs.items()}
            dynamic = {form: (0,) for form in args.format if form != "pb"}
            export(name, images, x, expected, args, DESCRIPTION, found, "generator", TOLERANCE, dynamic)
        except tf.errors.ResourceExhaustedError:
            raise UserError(f"--batch_size {n} does not fit into memory; give a smaller one") from None
    encoder = text_encoder.find(generator.folder)
    if encoder and not args.check and not (folder / text_encoder.FILE).exists():
        save_encoder(encoder, folder / text_encoder.FILE)
    if "pb" in chosen and not args.check:
        print(f"  msame --model {folder}/model.om --output output/ --loop 100")


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(freeze, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
