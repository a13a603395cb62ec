"""Draws the test set's captions with a trained model: `TRAIN.FLAG: False` in the settings, or train.py --flag=False.

python stageII/run_exp.py --cfg stageII/cfg/birds.yml --flag=False --ckpt_path=ckpt/birds/stageII

<ckpt dir>-1real-4samples/test/<class>/<name>_sentence0.jpg    a picture's first caption, the picture, and what NUM_COPY
                                                              noises make of the caption, a row a stage
<ckpt dir>-1real-4samples/samples/<class>-<name>_0.png, ...    the drawn ones alone, for inception_score.py
"""

import argparse
import os
from pathlib import Path

import _path  # noqa: F401  (finds ../common)
import data
import evaluate
import numpy as np
import trained
from PIL import Image
from tqdm import tqdm

from common import cli
from common.cli import UserError
from common.session import notice, open_session, session_config


def sample(args: argparse.Namespace) -> Path:
    """Draws every caption of train.py's `args`; returns the new folder.

    Raises:
        UserError: there is no checkpoint, or no test set.
    """
    if not args.pretrained_model:
        raise UserError("--flag=False draws with a trained model: name it by --ckpt_path, or PRETRAINED_MODEL in --cfg")
    open_session(session_config(args))
    model = trained.load(args.pretrained_model)
    split = data.load(os.path.join(args.data_path, "test"), args.embedding_type)
    folder = cli.new_folder(f"{model.run_folder}-1real-{args.num_copy}samples")
    (folder / "samples").mkdir()
    for start in tqdm(range(0, len(split), args.batch_size), "drawing", unit="batch", disable=None):
        rows = np.arange(start, min(start + args.batch_size, len(split)))
        first = np.zeros_like(rows)  # of each picture's captions
        embeddings = evaluate.Chosen(split, rows, first).embeddings
        seeds = [args.seed + start * args.num_copy + copy for copy in range(args.num_copy)]
        drawn = [trained.draw(model, embeddings, seed=seed) for seed in seeds]
        for row, index in enumerate(rows):
            write(folder, split, index, [[stage[row : row + 1] for stage in copy] for copy in drawn])
    notice(f"{len(split)} super-images are in {folder / 'test'}, and each picture alone in {folder / 'samples'}")
    return folder


def write(folder: Path, split: data.Split, index: int, drawn: list) -> None:
    """Writes the super-image of picture `index` and what was drawn for it: [copy][stage], uint8 [1, s, s, 3]."""
    chosen, name = evaluate.Chosen(split, np.array([index]), np.array([0])), split.filenames[index]
    sheet = evaluate.super_images(chosen, lambda _, seed: drawn[seed], 0, len(drawn))
    path = folder / "test" / f"{name}_sentence0.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=95)
    for number, copy in enumerate(drawn):
        Image.fromarray(copy[-1][0]).save(folder / "samples" / f"{name.replace('/', '-')}_{number}.png")
