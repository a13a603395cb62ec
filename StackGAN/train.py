"""Trains StackGAN: "StackGAN: Text to Photo-realistic Image Synthesis" (Zhang et al., 2017, arXiv 1612.03242).

python StackGAN/sample_data.py --output_path=birds
python StackGAN/train.py --data_path=birds --gf_dim=32 --df_dim=16 --train_epochs=2           both stages, on a CPU
python StackGAN/train.py --data_path=Data/birds --stage=1 --output_path=first                 the paper's 600 epochs
python StackGAN/train.py --data_path=Data/birds --stage=2 --ckpt_path=first --output_path=second
python StackGAN/train.py --data_path=set --stage=1 --cfg=StackGAN/stageI/cfg/birds_small.yml  few images, on a CPU
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Callable, Optional

import _path  # noqa: F401  (finds ../common)
import data
import evaluate
import numpy as np
import predict
import tensorflow as tf
import text_encoder
from misc import config
from model import NETWORK, Generator
from stageI import trainer as stage1
from stageI.trainer import Parts, first_epoch
from stageII import trainer as stage2
from tensorflow import keras

from common import cli
from common.cli import UserError, notice
from common.config import add_session_flags, session_config
from common.layers import moving_statistics, named_variables, update_average
from common.run import Run, add_run_flags, claim
from common.run_folder import to_json, write_whole
from common.session import Session, open_session, set_seed

HERE = os.path.dirname(os.path.abspath(__file__))
TRAIN_DIR = os.path.join(HERE, "train_dir")
STAGES = {"1": "stageI", "2": "stageII"}  # their folders
TABLES = {"": "data", "TRAIN": "optimisation", "TRAIN.COEFF": "optimisation", "GAN": "model"}  # TEST is the demo's
SHEET = 8  # captions on a sheet of examples
# Options that do not define a run, beside those that no run is defined by.
MAY_CHANGE = ("cfg", "config_name", "dataset_name", "embedding_type", "flag", "gpu_id", "num_copy", "pretrained_model")


def parse_args(argv: Optional[Sequence[str]] = None, root: str = TRAIN_DIR) -> argparse.Namespace:
    """The flags: those of all models, and one for each key of the settings' file, which override what that file says.

    Args:
        root: where the default `--output_path` is.
    Raises:
        UserError: the settings' file is broken.
    """
    parser = cli.ArgumentParser(description=__doc__)
    count = cli.in_range(int, 1)
    parser.add_argument("--stage", choices=[*STAGES, "both"], default="both", help="one, or one after the other")
    parser.add_argument("--cfg", metavar="FILE", help="the stage's settings, such as stageI/cfg/birds.yml")
    groups = {title: parser.add_argument_group(title) for title in ("data", "model", "optimisation")}
    groups["data"].add_argument("--data_path", metavar="DIR", help="holds train/ and test/ (Data/<dataset_name>)")
    groups["optimisation"].add_argument("--train_epochs", type=count, help="epochs of a stage; overrides --max_epoch")
    groups["optimisation"].add_argument("--train_steps", type=count, help="steps of a stage; where there is neither")
    for path, key in config.KEYS.items():
        title, text = TABLES.get(path.rpartition(".")[0]), f"{key.help}; {path}"
        if title and key.kind is cli.boolean:
            cli.add_boolean(groups[title], f"--{key.option}", key.default, text)
        elif title:
            names = [f"--{key.option}", *["--gpu"] * (key.option == "gpu_id")]
            groups[title].add_argument(*names, type=key.kind, default=key.default, help=text)
    group = add_run_flags(parser, "")
    group.add_argument("--log_interval", type=count, default=10, help="steps: a line, TensorBoard")
    group.add_argument("--held_out_interval", type=count, default=200, help="steps: the discriminator's loss on test/")
    group.add_argument("--example_interval", type=count, default=1000, help="steps: sheets of examples")
    add_session_flags(parser, precision_mode="allow_mix_precision")

    known, _ = parser.parse_known_args(argv)
    both = known.stage == "both"
    if both and known.cfg:
        parser.error("--cfg is of one stage: give --stage=1 or --stage=2 with it")
    settings = known.cfg or os.path.join(HERE, STAGES.get(known.stage, "stageI"), "cfg", "birds.yml")
    parser.set_defaults(**{name: value for name, value in config.load(settings).items() if name in known})
    args = parser.parse_args(argv)

    args.pretrained_model, args.ckpt_path = args.ckpt_path or args.pretrained_model, None
    args.data_path = args.data_path or os.path.join("Data", args.dataset_name)
    args.output_path = args.output_path or os.path.join(root, args.dataset_name, STAGES.get(args.stage, ""))
    if both and not args.flag:
        parser.error("--flag=False generates with one stage's weights: give --stage=1 or --stage=2 with it")
    if not os.path.isdir(args.data_path):
        parser.error(f"--data_path: there is no folder {args.data_path}; sample_data.py draws a small set")
    if args.max_epoch <= first_epoch(args):
        parser.error(f"--max_epoch {args.max_epoch} is not after --pretrained_epoch {args.pretrained_epoch}")
    if args.enlarge_steps and args.finetune_lr:
        parser.error("--enlarge_steps leaves stage I as it is: give --finetune_lr to a further run")
    return args


def read_data(args: argparse.Namespace) -> dict[str, data.Split]:
    """The splits {"train", "test"}.

    Raises:
        UserError: one is missing or broken, or they do not fit together, or are smaller than a batch.
    """
    splits = {part: data.Split(os.path.join(args.data_path, part), crop=args.random_crop) for part in ("train", "test")}
    notice(f"{args.data_path}: {len(splits['train'])} images to train on, {len(splits['test'])} held out")
    one, other = (split.embeddings.shape[2] for split in splits.values())
    if one != other:
        raise UserError(f"--data_path {args.data_path}: embeddings of sizes {one} and {other}; make both anew")
    return splits


def build(args: argparse.Namespace, session: Session, split: data.Split) -> tuple[Parts, list[keras.Model]]:
    """A stage's networks and updates, the latter compiled; with `--ema` an average of the generator that follows them.

    Returns: the parts, and the generators of one stage or both that are evaluated. `epoch_sums` in the state are the
        losses of an epoch so far.
    """
    per_epoch = len(split) // args.batch_size
    stage = stage2 if args.stage == "2" else stage1
    size = split.embeddings.shape[2]
    parts = stage.build(args, session, size, per_epoch)
    state, ema = dict(parts.state), stage.build_generator(size, args) if args.ema else None
    if ema is not None:
        state["ema_generator"] = named_variables(ema)
        session.average(moving_statistics(ema))
    sums = state["epoch_sums"] = {name: tf.Variable(0.0, trainable=False) for name in ("g_loss", "d_loss")}
    session.average(sums.values())

    def compiled(update):
        def train_step(images, embedding, classes, step):
            metrics = update(images, embedding, classes, step)
            if ema is not None:
                update_average(ema, parts.generator, args.ema, step)
            for name, total in sums.items():
                before = tf.where(step % per_epoch == 0, 0.0, total)
                total.assign(before + tf.where(tf.math.is_finite(metrics[name]), metrics[name], 0.0))
            return metrics

        return session.compile(train_step) if update else None

    steps = {"train_step": compiled(parts.train_step), "enlarge_step": compiled(parts.enlarge_step)}
    generators = [parts.stage1_generator] * (args.stage == "2") + [ema or parts.generator]
    return parts._replace(state=state, **steps), generators


def save_examples(args: argparse.Namespace, run: Run, generate: Callable, chosen: dict[str, evaluate.Chosen]) -> str:
    """Writes a sheet for each split: captions, the real image and some generated ones; returns the last one's path."""
    for part, captions in chosen.items():
        made = [generate(captions.embeddings, seed=args.seed + number) for number in range(args.num_copy)]
        sheet = evaluate.sheet(captions, made)
        path = run.path("examples", f"{part}_step_{run.step:07d}.jpg")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        sheet.save(path, quality=90)
        sheet.thumbnail((640, 1280))
        run.images(f"examples/{part}", np.asarray(sheet)[None])
    return path


def train(args: argparse.Namespace, session: Optional[Session] = None) -> dict:
    """One run of one stage, in the session that is open, if any. Returns what `result.json` holds.

    Raises:
        UserError: the data cannot be used, or a file is there already or cannot be written.
    """
    mine = claim(args, NETWORK, MAY_CHANGE)
    if mine.finished:
        return mine.finished
    session = session or open_on(args)
    set_seed(args.seed)
    splits = read_data(args)
    parts, generators = build(args, session, splits["train"])
    per_epoch = len(splits["train"]) // args.batch_size
    epochs = args.train_epochs or (None if args.train_steps else args.max_epoch - first_epoch(args))
    total_steps = epochs * per_epoch if epochs else args.train_steps
    generate = partial(predict.generate, Generator(args, *generators))
    shown = {part: evaluate.choose(split, min(SHEET, len(split))) for part, split in splits.items()}
    held_out, held_out_terms = data.held_out_batch(args, splits["test"], parts.size), tf.function(parts.held_out_terms)
    files = [*splits["train"].files, splits["train"].folder / data.EMBEDDINGS]
    about = {"stage": int(args.stage), "embedding_size": splits["train"].embeddings.shape[2]}

    with Run(mine, session, total_steps, parts.state, about=about, data=files, start=parts.start) as run:
        copy_encoder(args, run)
        examples = max(map(str, Path(run.path("examples")).glob("test_*")), default=None)  # an earlier part's
        stream = data.training_batches(args, splits["train"], parts.size, run.step, session)
        for step in run.steps():
            enlarging = parts.enlarge_step and step < args.enlarge_steps
            update = parts.enlarge_step if enlarging else parts.train_step
            metrics = update(*next(stream), tf.constant(step))
            run.end_step(metrics)

            if run.due(args.log_interval):
                run.scalars("train", run.fetch(metrics))
                seconds = run.step_seconds()
                run.log(f"step: {run.step} perf: {seconds:.4f} fps: {args.batch_size / seconds:.2f}")
            if run.due(args.held_out_interval):
                terms = held_out_terms(*map(tf.constant, held_out), tf.constant(step))
                run.scalars("held_out", {name: float(value) for name, value in terms.items()})
            if run.due(per_epoch):
                epoch = first_epoch(args) + step // per_epoch + 1
                means = {
                    name: float(total) / (step % per_epoch + 1) for name, total in parts.state["epoch_sums"].items()
                }
                run.log(f"Epoch {epoch} | " + "; ".join(f"{name}: {mean:.6f}" for name, mean in means.items()))
                run.scalars("epoch", means)
            if run.due(args.example_interval):
                examples = save_examples(args, run, generate, shown)
            if run.due(args.snapshot_interval):
                run.save()
        run.save()

        scores, baselines = {}, {}
        if args.evaluate and run.chief:
            folder = Path(run.path("evaluation"))
            if not (folder / evaluate.RESULT).exists():
                shutil.rmtree(folder, ignore_errors=True)  # was cut short, and is done again
            scores, baselines = evaluate.evaluate_run(args, generate, splits["test"], folder)
            run.log(f"[Info] on the test captions: {scores}; trivial baselines: {baselines}")
        name = next((name for name in ("colour_share", "r_precision") if name in scores), None)
        text = name and f"{name} of {scores['images']} test captions"
        return run.finish(["train/d_loss", "train/g_loss"], scores, baselines, scores.get(name), text or "", examples)


def open_on(args: argparse.Namespace) -> Session:
    """Opens the device that `--gpu` names."""
    if "TF_CONFIG" not in os.environ:  # several workers take a GPU each
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", str(args.gpu_id))
    os.environ.setdefault("ASCEND_DEVICE_ID", str(args.gpu_id))
    return open_session(session_config(args))


def copy_encoder(args: argparse.Namespace, run: Run) -> None:
    """Puts the data's text encoder beside the checkpoints, so that they read new sentences without the data."""
    path = text_encoder.find(args.data_path)
    made_by = data.embeddings_made_by(os.path.join(args.data_path, "train"))
    if run.chief and path and made_by == data.BY_ENCODER:
        shutil.copyfile(path, run.path(text_encoder.FILE))


def train_both(args: argparse.Namespace, argv: Sequence[str]) -> dict:
    """Stage I into <output_path>/stageI, then stage II from it into <output_path>/stageII; each goes on where it was.

    With `--ckpt_path`, stage I is that one and only stage II is trained. `args`, `argv`: the flags, parsed and as they
    came. Returns what `result.json` holds: stage II's, and both as "stages".
    """
    mine = claim(args, NETWORK, MAY_CHANGE)
    if mine.finished:
        return mine.finished
    session = open_on(args)
    folder, results = Path(mine.folder), {}
    if not args.pretrained_model:
        flags = ["--stage=1", f"--output_path={folder / 'stageI'}"]
        results["stageI"] = train(parse_args([*argv, *flags]), session)
        session.optimizers.clear()  # whose skipped updates are not stage II's
    first = args.pretrained_model or folder / "stageI"
    flags = ["--stage=2", f"--output_path={folder / 'stageII'}", f"--ckpt_path={first}"]
    results["stageII"] = train(parse_args([*argv, *flags]), session)
    result = {**results["stageII"], "stages": results}
    if session.chief:
        result["e2e_sec"] = sum(stage["e2e_sec"] for stage in results.values())
        for path in (folder / "stageII").glob(f"{NETWORK}_*"):
            shutil.copy(path, folder)
        logs = sorted(folder.glob("stage*/train_*.log"))
        for name in {path.name for path in logs}:
            (folder / name).write_bytes(b"".join(path.read_bytes() for path in logs if path.name == name))
        write_whole(str(folder / "result.json"), to_json(result))  # last: it says that both are finished
    return result


def main(argv: Optional[Sequence[str]] = None, root: str = TRAIN_DIR) -> int:
    argv = sys.argv[1:] if argv is None else list(argv)

    def run() -> None:
        args = parse_args(argv, root)
        if args.stage == "both":
            train_both(args, argv)
        elif args.flag:
            train(args)
        else:
            evaluate.test_set(args)

    return cli.run_main(run)


if __name__ == "__main__":
    cli.leave(main())
