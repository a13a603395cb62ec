"""A ModelArts job: data in, a model's launcher, results out. Data and results are local folders or obs:// addresses.

The platform calls `python <Model>/modelarts_entry_acc.py --data_url=URL --train_url=URL [flags of the launcher]`.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

from common import cli
from common.cli import UserError

DATA_URL = "/home/ma-user/modelarts/inputs/data_url_0"
TRAIN_URL = "/home/ma-user/modelarts/outputs/train_url_0/"


def main(launcher: Union[str, Path], argv: Optional[Sequence[str]] = None) -> int:
    """Runs a job: copies the data in, runs `launcher`, copies the results out also when the run failed.

    Args:
        launcher: the model's `test/train_full_1p.sh` or `test/train_performance_1p.sh`.
        argv: flags of the job; without it the process's own. All but --data_url and --train_url go to the launcher.
    Returns: the run's exit status (128 + n when signal n ended it), or 2 where a copy failed and nothing else did.
    """
    args, flags = _parse_args(argv)
    failed = cli.run_main(_check, args, flags)
    if failed:
        return failed
    data, output = _local_folder(args.data_url), _local_folder(args.train_url)
    failed = cli.run_main(copy_in, args.data_url, data)
    if failed:
        return failed
    folders = [f"--data_path={data}", f"--output_path={output}"]
    status = _run(["bash", str(launcher), *folders, *devices(os.environ), *flags])
    copied = cli.run_main(copy_out, output, args.train_url)
    return status or copied


def devices(environ: Mapping[str, str]) -> list[str]:
    """The launcher's flag for all devices of a job that is started once on each machine, by the platform's variables.

    None where it starts a process for each device itself, as it does with its own Ascend images, or TF_CONFIG says so.
    """
    if "RANK_ID" in environ or environ.get("TF_CONFIG"):
        return []
    counts = [environ.get(name, "") for name in ("MA_NUM_HOSTS", "MA_NUM_GPUS")]  # machines, devices of each
    machines, each = (max(1, int(count)) if count.isdecimal() else 1 for count in counts)
    return [f"--rank_size={machines * each}"] if machines * each > 1 else []


def copy_in(url: str, folder: Union[str, Path]) -> None:
    """Copies the data at `url` into `folder`. A local `url` is used where it stands and has to exist.

    Raises UserError when there is no such local folder, no moxing, or the copy fails.
    """
    if _is_remote(url):
        _copy_parallel(url, folder)
    elif not Path(url).is_dir():
        raise UserError(f"--data_url: there is no folder {url}\nGive the folder of the data, or an obs:// address.")


def copy_out(source: Union[str, Path], url: str) -> None:
    """Copies what is in the folder `source` to `url`, a local folder (made if need be) or an obs:// address.

    Files of the same name are replaced there, others stay. Raises UserError where the copy fails; `source` keeps all.
    """
    if _is_remote(url):
        _copy_parallel(source, url)
    else:
        source_folder, target = Path(source).resolve(), Path(url).resolve()
        if source_folder == target:
            return
        if source_folder in target.parents:
            raise UserError(f"cannot copy {source} into itself: {url} lies inside it")
        try:
            shutil.copytree(str(source_folder), str(target), dirs_exist_ok=True)
        except OSError as error:
            reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error  # the first file's of a list
            raise UserError(f"cannot copy {source} to {url}: {reason}\nThe files are still in {source}.") from error
    print(f"[Info] copied {source} to {url}", flush=True)


def check_url(url: str) -> None:
    """Raises UserError if copying to or from `url` needs moxing and it is not here: for before the run, not after."""
    if _is_remote(url):
        _moxing_file(url)


def _parse_args(argv: Optional[Sequence[str]]) -> tuple[Any, list[str]]:
    parser = cli.ArgumentParser(description="A ModelArts job. All other flags go to the launcher.")
    parser.add_argument("--data_url", default=DATA_URL, help="the data: a folder, or obs://... (copied in first)")
    parser.add_argument("--train_url", default=TRAIN_URL, help="the results: a folder, or obs://... (copied out last)")
    return parser.parse_known_args(argv)


def _check(args: Any, flags: Sequence[str]) -> None:
    """Refuses, before anything is copied, what would only fail or go astray after hours."""
    for word in flags:
        for flag, url in (("--data_path", "--data_url"), ("--output_path", "--train_url")):
            if word.split("=")[0] == flag:
                raise UserError(f"{flag} is set from {url} in a job: give {url} instead")
    check_url(args.data_url)
    check_url(args.train_url)


def _run(command: Sequence[str]) -> int:
    """Runs `command` to its end, passing SIGTERM on to it, and returns its exit status as a shell would."""
    child, early = None, []

    def pass_on(number, frame):
        if child is None:
            early.append(number)
        else:
            child.send_signal(number)

    # From here on this process outlives the run, to copy its results. A terminal sends Ctrl-C to the run as well, so
    # here it only must not kill; once the run has ended it means the copying.
    signal.signal(signal.SIGTERM, pass_on)
    interrupt = signal.signal(signal.SIGINT, lambda number, frame: None)
    child = subprocess.Popen(command, env={"PYTHON": sys.executable, **os.environ})
    for number in early:
        child.send_signal(number)
    status = child.wait()
    signal.signal(signal.SIGINT, interrupt)
    return 128 - status if status < 0 else status


def _is_remote(url: str) -> bool:
    return url.startswith("obs://")


def _local_folder(url: str) -> str:
    """The folder on this machine for `url`: itself, or a new one under TMPDIR or on the large disk that jobs have."""
    if not _is_remote(url):
        return str(Path(url))
    on_large_disk = "TMPDIR" not in os.environ and os.access("/cache", os.W_OK)
    return tempfile.mkdtemp(prefix="modelarts_", dir="/cache" if on_large_disk else None)


def _moxing_file(url: str) -> Any:
    try:
        from moxing import file
    except ImportError as error:
        raise UserError(f"{url} needs the package moxing, which is not here ({error})\nGive a local folder.") from error
    return file


def _copy_parallel(source: Union[str, Path], target: Union[str, Path]) -> None:
    copy = _moxing_file(f"copying {source} to {target}").copy_parallel
    try:
        copy(str(source), str(target))
    except Exception as error:  # moxing raises whatever its storage client does
        raise UserError(f"cannot copy {source} to {target}: {error}") from error
