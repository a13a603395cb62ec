"""A run's folder: whose it is, what makes a run the run it is, and its files that are written whole or not at all."""

import argparse
import datetime
import fcntl
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from common import cli, weights
from common.cli import UserError, notice
from common.config import SessionConfig
from common.session import place

# Options that a run's weights do not depend on, or that may change on the way: all others make it the run it is.
MAY_CHANGE = re.compile(
    r"output_path|ckpt_path|evaluate|overwrite|allow_changed_data|continue_train|data_path|obs_url|debug|profiling"
    r"|train_steps|train_epochs|max_epoch|learning_rate.*|.*_lr|(log|save|print)_.*|.*_(step|freq|interval|dir)"
    f"|{'|'.join(SessionConfig.__dataclass_fields__)}"
)
LENGTH = ("train_steps", "train_epochs", "max_epoch", "evaluate")  # what a finished run may be asked for more of


@dataclass
class Claim:
    """A folder that is this run's. `finished` is the old result where the very run is finished already."""

    args: argparse.Namespace
    network: str
    folder: str
    finished: Optional[dict[str, Any]] = None
    changed: list[str] = field(default_factory=list)  # options that differ from the run's so far, in words
    lock: Any = None  # held until the process ends, however it ends


def claim(args: argparse.Namespace, network: str, may_change: Sequence[str] = ()) -> Claim:
    """Makes `--output_path` this run's folder; call it before the session, whose dumps go there too.

    An unfinished run there goes on if nothing differs that defines it, and a finished one if it is asked for more; a
    finished run of another kind is moved aside to `<folder>.<time>`, as any is with `--overwrite` (a working directory,
    a mount point or a link stays: the new run goes to a folder beside it). A `--continue_train` of True goes on in any
    case, one of False never. Of several workers the first one does all this, and none ends early.

    Args:
        may_change: options that do not define the run, beside `MAY_CHANGE`.
    Returns:
        The claim; `args.output_path` is the folder, absolute.
    Raises:
        UserError: the folder cannot be written, is in use, holds other things, or another unfinished run.
    """
    folder = os.path.abspath(os.path.expanduser(args.output_path))
    mine = Claim(args, network, folder)
    args.output_path = folder
    chief, several = place(getattr(args, "device", "auto"))
    if not chief:
        return mine
    go_on = getattr(args, "continue_train", None)
    try:
        before = _open_folder(mine)
        asked = json.loads(json.dumps(options_of(args)))
        differing = [name for name in asked if name in before and before[name] != asked[name]]
        other = [name for name in differing if not (MAY_CHANGE.fullmatch(name) or name in may_change)]
        mine.changed = [f"--{name} {before[name]}, now {asked[name]}" for name in differing if name != "output_path"]
        result = os.path.join(folder, "result.json")
        anew = args.overwrite or go_on is False or (os.path.exists(result) and other and not go_on)
        if before and anew:
            _move_aside(mine)
        elif other and not go_on:
            told = "; ".join(f"--{name} {before[name]}, now {asked[name]}" for name in other)
            raise UserError(
                f"--output_path {folder} holds an unfinished run of other options ({told}).\n"
                "Repeat that run's options to continue it, or give another --output_path, or --overwrite."
            )
        elif os.path.exists(result) and not several:
            if go_on or any(name in LENGTH for name in differing):
                os.rename(result, os.path.join(folder, f"result.{now()}.json"))
            else:
                with open(result) as file:
                    mine.finished = json.load(file)
                notice(f"the run in {folder} is finished: --overwrite trains anew, more steps continue it")
                print_final(mine.finished, notice=print)
                return mine
        write_whole(
            os.path.join(mine.folder, "options.json"),
            to_json({"format": weights.FORMAT, "network": network, "options": asked}),
        )
    except OSError as error:
        raise UserError(f"--output_path {folder} cannot be written: {error.strerror}") from None
    return mine


def _open_folder(mine: Claim) -> dict[str, Any]:
    """Locks the folder and returns the options of the run that it holds; empty where none is begun.

    Raises:
        UserError: it holds other things, or a run is writing there.
    """
    folder = mine.folder
    os.makedirs(folder, exist_ok=True)
    begun = read_json(os.path.join(folder, "options.json"))
    kinds = {"format": str, "network": str, "options": dict}
    foreign = not isinstance(begun, dict) or any(type(begun.get(name)) is not kind for name, kind in kinds.items())
    foreign = foreign or begun["format"] != weights.FORMAT
    if foreign and set(os.listdir(folder)) - {"run.lock", "options.json.tmp"}:
        raise UserError(f"--output_path {folder} holds other files than a run's; name a new or an empty folder")
    if not foreign and begun["network"] != mine.network:
        raise UserError(f"--output_path {folder} holds a run of {begun['network']}; name another folder")
    mine.lock = os.open(os.path.join(folder, "run.lock"), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(mine.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"--output_path {folder}: another run is writing there now; choose another folder") from None
    places = (folder, getattr(mine.args, "checkpoint_dir", None) or os.path.join(folder, "checkpoints"))
    trained = any(name.startswith(("ckpt-", "result.json")) for place in places for name in names(place))
    return begun["options"] if trained and not foreign else {}


def _move_aside(mine: Claim) -> None:
    """Makes room for a new run: moves the old one, or where that must stay takes a folder beside it."""
    folder, here = mine.folder, Path.cwd()
    if os.path.islink(folder) or os.path.ismount(folder) or Path(os.path.realpath(folder)) in (here, *here.parents):
        mine.folder = mine.args.output_path = str(cli.new_folder(folder))
        notice(f"{folder} stays where it is: the new run goes to {mine.folder}")
    else:
        own = getattr(mine.args, "checkpoint_dir", None)
        for path in (folder, *([os.path.abspath(own)] if any(n.startswith("ckpt-") for n in names(own or "")) else [])):
            aside = f"{path}.{now()}"
            os.rename(path, aside)
            notice(f"what was in {path} is now in {aside}")
    mine.changed = []
    _open_folder(mine)


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """The options as a run's files hold them."""
    return {name: value for name, value in sorted(vars(args).items()) if name not in ("overwrite", "continue_train")}


def fingerprint(files: Iterable[Any]) -> dict[str, Any]:
    """What tells one set of files from another: how many, their names and sizes, and apart from these their times.

    (A copy on another machine has other times, and is the same data all the same.)
    """
    paths = sorted(Path(os.path.abspath(file)) for file in files)  # however they are spelled
    top = os.path.commonpath([path.parent for path in paths]) if paths else ""
    stats = [(os.path.relpath(path, top), os.stat(path)) for path in paths]
    content = hashlib.sha256(repr([(name, stat.st_size) for name, stat in stats]).encode()).hexdigest()[:16]
    times = hashlib.sha256(repr([int(stat.st_mtime) for _, stat in stats]).encode()).hexdigest()[:16]
    return {"files": len(stats), "content": content, "times": times}


def print_final(result: dict[str, Any], notice: Callable[[str], None]) -> None:
    notice("------------------ Final result ------------------")
    notice(f"Final Performance images/sec : {number(result['images_per_sec'], 2)}")
    notice(f"Final Performance sec/step : {number(result['sec_per_step'], 6)}")
    name = f"   ({result['accuracy_name']})" if result["accuracy"] is not None and result["accuracy_name"] else ""
    notice(f"Final Train Accuracy : {number(result['accuracy'], 4)}{name}")
    notice(f"E2E Training Duration sec : {number(result['e2e_sec'], 0)}")


def number(value: Optional[float], digits: int) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}"


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null."""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, (float, np.floating)) and not math.isfinite(value) else value


def to_json(value: Any) -> str:
    return json.dumps(finite(value), indent=2, sort_keys=True, allow_nan=False) + "\n"


def read_json(file: str) -> Any:
    """What a JSON file holds; None where there is none, or none whole."""
    try:
        with open(file) as text:
            return json.load(text)
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return None


def write_whole(path: str, text: str) -> None:
    """Whole or not at all: under a temporary name first."""
    with open(path + ".tmp", "w") as file:
        file.write(text)
    os.replace(path + ".tmp", path)


def names(folder: Any) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def now() -> str:
    return f"{datetime.datetime.now():%Y%m%d-%H%M%S}"
