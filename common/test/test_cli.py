"""Flags, exit statuses and new files: what a user reads after a mistake. Nothing here needs TensorFlow."""

import argparse
import errno
import os
import signal
import subprocess
import sys

import pytest

from common import cli
from common.test.testing import REPOSITORY, hear_signals


@pytest.fixture
def parser():
    parser = cli.ArgumentParser(description="A command.")
    parser.add_argument("--train_steps", type=cli.in_range(int, 1), default=7, help="how long")
    parser.add_argument("--rate", type=cli.in_range(float, 0, 1), help="a share")
    cli.add_boolean(parser, "--profiling", False, "trace")
    return parser


def test_words_for_true_and_false():
    assert all(cli.boolean(text) is True for text in ("True", "YES", "on", "1", " true "))
    assert all(cli.boolean(text) is False for text in ("False", "NO", "off", "0"))
    for text in ("", "2", "tru", "None"):
        with pytest.raises(argparse.ArgumentTypeError, match="is neither True nor False"):
            cli.boolean(text)


def test_values_in_range_and_defaults(parser, capsys):
    args = parser.parse_args(["--train_steps=1", "--rate", "1", "--profiling"])
    assert (args.train_steps, args.rate, args.profiling) == (1, 1.0, True)
    assert parser.parse_args(["--profiling=False"]).profiling is parser.parse_args([]).profiling is False
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    told = capsys.readouterr().out
    assert "how long (default: 7)" in told and "a share\n" in told


@pytest.mark.parametrize(
    "flag, told",
    [
        ("--trian_steps=3", "unknown flag --trian_steps; the nearest known one is --train_steps (--help lists all)"),
        ("--profile", "unknown flag --profile; the nearest known one is --profiling (--help lists all)"),
        ("train_steps=3", "unexpected argument 'train_steps': flags are written --name=value or --name value"),
        ("--profiling=maybe", "argument --profiling: 'maybe' is neither True nor False"),
        ("--train_steps=0", "argument --train_steps: '0' is not a whole number, at least 1"),
        ("--train_steps=1.5", "argument --train_steps: '1.5' is not a whole number, at least 1"),
        ("--rate=nan", "argument --rate: 'nan' is not a number, at least 0, at most 1"),
        ("--rate=", "argument --rate: '' is not a number, at least 0, at most 1"),
    ],
)
def test_a_wrong_flag_is_one_line_and_status_2(parser, capsys, flag, told):
    with pytest.raises(SystemExit) as stop:
        parser.parse_args([flag])
    assert stop.value.code == 2 and capsys.readouterr() == ("", f"[Error] {told}\n")


@pytest.mark.parametrize(
    "error, status, told",
    [
        (cli.UserError("no data in x\nGive --data_path."), 2, "[Error] no data in x\nGive --data_path."),
        (cli.TrainingError("the loss is not finite"), 1, "[Error] the loss is not finite"),
        (KeyboardInterrupt(), 130, "[Info] interrupted"),
        (SystemExit(143), 143, ""),  # a run that a signal stopped has told so
        (OSError(errno.ENOSPC, "No space left on device"), 2, "[Error] No space left on device: make room and repeat"),
        (OSError(errno.EFBIG, "File too large"), 2, "[Error] File too large: make room and repeat the command"),
    ],
)
def test_an_end_has_its_line_and_status(capsys, error, status, told):
    def command():
        raise error

    assert cli.run_main(command) == status
    output, errors = capsys.readouterr()
    assert output == "" and errors.startswith(told) and errors.count("\n") == told.count("\n") + bool(told)


def test_success_is_0_and_a_mistake_of_ours_a_traceback():
    seen = []
    assert cli.run_main(seen.append, 3) == 0 and seen == [3]
    with pytest.raises(ZeroDivisionError):
        cli.run_main(lambda: 1 / 0)


@pytest.mark.parametrize(
    "number, ignored, status",
    [
        (signal.SIGTERM, False, 143),
        (signal.SIGHUP, False, 129),
        (signal.SIGINT, False, 130),
        (signal.SIGHUP, True, 7),  # nohup
        (signal.SIGINT, True, 7),  # make test &
    ],
)
def test_a_signal_in_the_first_seconds(number, ignored, status):
    """A line and its status, and what was said before is told; `leave` ends past what a library left running."""
    program = (
        "import atexit, os, sys; from common import cli; atexit.register(os._exit, 9)\n"
        f"def work(): print('said'); os.kill(os.getpid(), {number:d}); sys.exit(7)\n"
        "cli.leave(cli.run_main(work))"
    )

    def before():
        hear_signals()
        if ignored:
            signal.signal(number, signal.SIG_IGN)

    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, preexec_fn=before)
    assert (done.returncode, done.stdout) == (status, "said\n")
    assert done.stderr.count("\n") == (not ignored) and done.stderr.startswith("" if ignored else "[Info] ")


def test_a_reader_that_has_seen_enough_is_no_fault():
    """`| head -1`: whether the lines are many or wait in the buffer."""
    for lines in (2, 100000):
        program = f"from common import cli; cli.leave(cli.run_main(lambda: [print(n) for n in range({lines})]))"
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_new_files_and_folders_are_new(tmp_path, monkeypatch):
    files = [cli.new_file(tmp_path / "new" / "result.tar.gz") for _ in range(2)]
    folders = [cli.new_folder(tmp_path / "new" / "of.mine") for _ in range(2)]
    assert [path.name for path in files] == ["result.tar.gz", "result.tar-2.gz"]
    assert [path.name for path in folders] == ["of.mine", "of-2.mine"]
    (tmp_path / "new" / "dangling").symlink_to("nowhere")
    assert cli.new_file(tmp_path / "new" / "dangling").name == "dangling-2"
    monkeypatch.chdir(folders[0])
    assert cli.new_folder(".") == tmp_path / "new" / "of-3.mine"
    for make in (cli.new_file, cli.new_folder):
        with pytest.raises(cli.UserError, match="^--output_path: .* cannot be written"):
            make(files[0] / "below" / "it")


def test_a_set_is_written_whole_or_not_at_all(tmp_path):
    with cli.new_set(tmp_path / "set") as work:
        (work / "a").write_text("1")
        assert not (tmp_path / "set" / "a").exists()
    assert os.listdir(tmp_path / "set") == ["a"]
    with (
        pytest.raises(cli.UserError, match="set is not an empty folder; name another one"),
        cli.new_set(tmp_path / "set"),
    ):
        pytest.fail("entered")
    with pytest.raises(ZeroDivisionError), cli.new_set(tmp_path / "failed") as work:
        (work / "a").write_text("1")
        raise ZeroDivisionError
    assert os.listdir(tmp_path / "failed") == []
