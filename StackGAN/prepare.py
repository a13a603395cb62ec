"""Makes a data set for train.py out of your own pictures and captions, or checks one.

    python prepare.py --pictures birds/ --output_path set      NAME.jpg beside NAME.txt, a caption a line
    python prepare.py --pictures photos/ --captions texts/ --output_path set
    python prepare.py --validate set                           checks a set; makes nothing

Sub-folders are classes; without any, each picture is a class of its own. Pictures are cut to their middle square and
scaled to 304 x 304. Writes train/ and test/, each with images/ and captions/, only when all of it is there; your own
files are left as they are. Next, train_text_encoder.py learns embeddings of the captions.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import data
import numpy as np
from PIL import Image
from tqdm import tqdm

from common import cli, pictures
from common.cli import UserError

NAMED = 20  # bad files that are named; the others are counted
SIDE = data.LOAD_SIZES[256]


def parse_args(argv: Optional[list[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=cli.user_path, metavar="DIR", help="pictures, in sub-folders a class or not")
    parser.add_argument(
        "--captions",
        type=cli.user_path,
        metavar="DIR",
        help="their captions, NAME.txt, in the same sub-folders (beside them)",
    )
    parser.add_argument(
        "--validate", type=cli.user_path, metavar="DIR", help="a set to check: a folder with train/ and test/"
    )
    parser.add_argument("--output_path", type=cli.user_path, metavar="DIR", help="a new or empty folder")
    parser.add_argument(
        "--split",
        choices=["pictures", "classes"],
        default="pictures",
        help="what test/ holds: some pictures of all classes, or all of some classes, as in the paper (pictures)",
    )
    parser.add_argument("--test", type=cli.in_range(float, 0, 0.9), default=0.1, help="share held out for test/ (0.1)")
    parser.add_argument("--seed", type=cli.in_range(int, 0), default=0, help="draws which ones those are (0)")
    cli.add_boolean(parser, "--skip_bad_files", False, "leave out what cannot be used, and count it")
    args = parser.parse_args(argv)
    if (args.pictures is None) == (args.validate is None):
        parser.error("give --pictures DIR --output_path DIR, or --validate DIR (--help explains)")
    if not args.validate and args.output_path is None:
        parser.error("--output_path DIR is missing: a new or empty folder for the set")
    return args


def report(folder: Path, counts: dict[str, int], trained: bool = False) -> None:
    """Prints what a set holds now and the commands that train on it.

    Args:
        trained: it has embeddings already.
    """
    print(f"[Info] {folder}: {', '.join(f'{count} pictures in {split}/' for split, count in counts.items())}")
    for script in ("train.py",) if trained else ("train_text_encoder.py", "train.py"):
        words = [os.path.relpath(Path(__file__).resolve().with_name(script)), f"--data_path={folder}"]
        print(f"Next:  python {' '.join(map(shlex.quote, words))}", flush=True)


def listing(lines: list[str]) -> str:
    """The first lines, and how many more there are."""
    more = [f"... and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
    return "\n".join(f"  {line}" for line in lines[:NAMED] + more)


def find(args: argparse.Namespace) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """The picture and the captions' file of each name "class/name" or "name", and a line for each without captions.

    Raises:
        UserError: there are no pictures, a name is there twice, or there are pictures both in classes and outside.
    """
    root = args.pictures
    if not root.is_dir():
        raise UserError(f"--pictures {root}: there is no such folder")
    texts = args.captions or root
    if not texts.is_dir():
        raise UserError(f"--captions {texts}: there is no such folder")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    inside = [file for folder in folders for file in pictures.picture_files(folder)]
    outside = pictures.picture_files(root)
    if inside and outside:
        raise UserError(
            f"--pictures {root}: {outside[0].name} and {len(outside) - 1} more are in no sub-folder, others are; "
            "sub-folders are classes, so put them all into some or into none"
        )
    found, alone = {}, []
    for path in inside or outside:
        name = path.relative_to(root).with_suffix("")
        if name.as_posix() in found:
            raise UserError(f"--pictures {root}: two pictures share the name {name}; rename one")
        found[name.as_posix()] = (path, texts / f"{name}.txt")
    if not found:
        raise UserError(f"--pictures {root}: no picture in the folder or in its sub-folders")
    for name, (path, text) in list(found.items()):
        if not text.is_file():
            alone.append(f"{path}: there are no captions for it in {text}")
            del found[name]
    return found, alone


def held_out(names: list[str], split: str, share: float, seed: int) -> set[str]:
    """Draws the names for test/.

    Args:
        names: "class/name" or "name" of each.
        split: "classes": all names of some classes; "pictures": any, but never the last of a class.
        share: of the names or classes; one at least but not all, or none if it is 0.
    """
    if not share or len(names) < 2:
        return set()
    rng = np.random.default_rng(seed)
    classes = [name.rpartition("/")[0] for name in names]
    if split == "classes":
        distinct = sorted(set(classes))
        if len(distinct) < 2:
            raise UserError("--split classes: there is one class only; give --split=pictures")
        count = min(len(distinct) - 1, max(1, round(share * len(distinct))))
        drawn = {distinct[number] for number in rng.permutation(len(distinct))[:count]}
        return {name for name, kind in zip(names, classes) if kind in drawn}
    wanted = min(len(names) - 1, max(1, round(share * len(names))))
    left = {kind: classes.count(kind) for kind in set(classes)}
    drawn = set()
    for number in rng.permutation(len(names)):
        if len(drawn) < wanted and left[classes[number]] > 1:
            drawn.add(names[number])
            left[classes[number]] -= 1
    return drawn


def write(args: argparse.Namespace) -> None:
    """Makes a set."""
    found, bad = find(args)
    if bad and not args.skip_bad_files:
        raise refusal(bad)
    good = []
    with cli.new_set(args.output_path) as work:
        for name, (path, text) in tqdm(found.items(), "pictures", unit="", disable=None):
            try:
                captions = data.read_lines(text)
                if not captions:
                    raise UserError(f"{text}: holds no caption")
                square = data.square(pictures.decode(path), SIDE)
            except UserError as error:
                bad.append(str(error))
                continue
            image, texts = work / "train" / "images" / f"{name}.png", work / "train" / "captions" / f"{name}.txt"
            for file in (image, texts):
                file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(square).save(image)
            texts.write_text("\n".join(captions) + "\n", encoding="utf-8")
            good.append(name)
        if bad and not args.skip_bad_files:
            raise refusal(bad)
        if len(good) < 2:
            raise UserError(f"nothing was written: {len(good)} pictures are left\n{listing(bad)}".rstrip())
        held = held_out(good, args.split, args.test, args.seed)
        for name in held:
            for file in (f"images/{name}.png", f"captions/{name}.txt"):
                (work / "test" / file).parent.mkdir(parents=True, exist_ok=True)
                (work / "train" / file).rename(work / "test" / file)
        for folder in sorted((work / "train").glob("*/*/"), reverse=True):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    if bad:
        print(f"[Warning] {len(bad)} files were left out:\n{listing(bad)}", file=sys.stderr, flush=True)
    report(args.output_path, {"train": len(good) - len(held), "test": len(held)})


def refusal(bad: list[str]) -> UserError:
    """The error that names bad files, up to a limit."""
    return UserError(f"nothing was written, for what follows; mend it or give --skip_bad_files\n{listing(bad)}")


def validate(args: argparse.Namespace) -> None:
    """Reads all of a set as train.py would: names, classes, pictures, captions, and embeddings where there are some."""
    splits = [split for split in ("train", "test") if (args.validate / split).is_dir()]
    if "train" not in splits:
        raise UserError(f"--validate {args.validate}: there is no train/ in it; a set has train/ and test/")
    for split in splits:
        folder = args.validate / split
        kind = "cnn-rnn" if data.find_embeddings(folder) else None
        loaded = data.load(folder, kind)
        loaded.pictures(data.LOAD_SIZES[64]), loaded.pictures(SIDE)
        captions = loaded.captions
        texts = "no captions" if captions is None else f"{sum(map(len, captions))} captions"
        shape = "no embeddings yet: train_text_encoder.py" if kind is None else f"embeddings {loaded.embeddings.shape}"
        classes = len(np.unique(loaded.classes))
        print(f"[Info] {folder}: {len(loaded)} pictures of {classes} classes, {texts}, {shape}", flush=True)
    print(f"[Info] {args.validate}: all of it can be trained on", flush=True)


def main(argv: Optional[list[str]] = None) -> int:
    args = parse_args(argv)
    return cli.call(validate if args.validate else write, args)


if __name__ == "__main__":
    sys.exit(main())
