"""What every command line here shares: flags, new files, and how a user's mistake is told (no TensorFlow needed)."""

import argparse
import difflib
import errno
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, NoReturn, Optional, Union


class UserError(Exception):
    """A mistake in flags or data. Its text is one or two plain lines: what is wrong, and what to do."""


class TrainingError(Exception):
    """A run that cannot go on through no fault in its flags, such as a loss that is no longer a number."""


class HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """The description as it is written; each flag's default behind its help, where there is one."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, argparse.SUPPRESS) else super()._get_help_string(action)


class ArgumentParser(argparse.ArgumentParser):
    """`argparse` with grouped help, defaults shown, and an unknown flag answered by the nearest known one."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", HelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def parse_args(self, args=None, namespace=None):  # type: ignore[override]
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flag = unknown[0].split("=")[0]
            if not flag.startswith("-"):
                self.error(f"unexpected argument {flag!r}: flags are written --name=value or --name value")
            nearest = difflib.get_close_matches(flag, self._option_string_actions, n=1, cutoff=0.0)
            self.error(f"unknown flag {flag}; the nearest known one is {nearest[0]} (--help lists all)")
        return parsed

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"[Error] {message}\n")


def boolean(text: str) -> bool:
    """Parses True/False, yes/no, on/off, 1/0 in any case, as a flag's `type`."""
    value = text.strip().lower()
    if value in ("true", "yes", "on", "1"):
        return True
    if value in ("false", "no", "off", "0"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")


def add_boolean(group: Any, flag: str, default: Optional[bool], help: str) -> None:
    """Adds a flag that is written `--flag`, `--flag=True` or `--flag=False`."""
    group.add_argument(flag, type=boolean, nargs="?", const=True, default=default, metavar="BOOL", help=help)


def in_range(kind: Callable, low: Optional[float] = None, high: Optional[float] = None) -> Callable:
    """A flag's `type`: a number of `kind` (int or float) between `low` and `high`, both included."""

    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not (low is None or value >= low) or not (high is None or value <= high):
            noun = "a whole number" if kind is int else "a number"
            bounds = [f", at least {low}"] * (low is not None) + [f", at most {high}"] * (high is not None)
            raise argparse.ArgumentTypeError(f"{text!r} is not {noun}{''.join(bounds)}")
        return value

    return parse


def user_path(text: str) -> Path:
    """A flag's `type`: a path, in which ~ is the home folder (shells leave it as it is in --flag=~/path)."""
    return Path(os.path.expanduser(text))


def notice(text: str) -> None:
    """A plain line for the user."""
    print(f"[Info] {text}", flush=True)


# New files and folders: nothing of the user's is overwritten.


def _new(path: Union[str, Path], make: Callable[[Path], None]) -> Path:
    path = free = Path(os.path.abspath(os.path.expanduser(path)))  # "." and ".." get their names
    number = 1
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    try:
        free.parent.mkdir(parents=True, exist_ok=True)
        make(free)
    except OSError as error:
        raise UserError(f"--output_path: {path.parent} cannot be written ({error.strerror})") from None
    return free


def new_file(path: Union[str, Path]) -> Path:
    """Makes an empty file that was not there, and its folder: `path`, or else with -2, -3, ... before its ending.

    Raises:
        UserError: it cannot be made.
    """
    return _new(path, lambda free: free.touch(exist_ok=False))


def new_folder(path: Union[str, Path]) -> Path:
    """Makes a folder that was not there: `path`, or else <path>-2, -3, ...

    Raises:
        UserError: it cannot be made.
    """
    return _new(path, Path.mkdir)


@contextmanager
def new_set(folder: Union[str, Path]) -> Iterator[Path]:
    """A folder to write a data set into. Its content moves to `folder` when the block ends well, else it is removed.

    Raises:
        UserError: `folder` holds something, or cannot be made.
    """
    folder = Path(folder).expanduser()
    try:
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise UserError(f"--output_path: {folder} is not an empty folder; name another one")
        folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
    except OSError as error:
        raise UserError(f"--output_path: {folder} cannot be written ({error.strerror}); name another one") from error
    try:
        yield work
        for part in sorted(work.iterdir()):
            part.rename(folder / part.name)
    finally:
        shutil.rmtree(work)


# The end of a command.


def run_main(function: Callable, *args: Any) -> int:
    """Runs a command and returns its exit status: 2 for a `UserError` or a full disk and 1 for a `TrainingError`, told
    in a line or two; 128 + n for signal n; else 0."""

    def stop(number, frame):
        print(f"[Info] ended by signal {number}", file=sys.stderr, flush=True)
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # as nohup leaves it, it stays
            signal.signal(number, stop)
    try:
        function(*args)
        sys.stdout.flush()
    except BrokenPipeError:  # who read our lines has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (UserError, TrainingError) as error:
        print(f"[Error] {error}", file=sys.stderr, flush=True)
        return 2 if isinstance(error, UserError) else 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        print(f"[Error] {error.strerror}: make room and repeat the command", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print("[Info] interrupted", file=sys.stderr, flush=True)
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def leave(status: int) -> NoReturn:
    """Ends the process here, past the threads of TensorFlow 2.6 that abort one of several workers at its end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
