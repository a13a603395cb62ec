"""Several workers: what their environment tells them, how they end, and two of them against one process alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from common import launch_workers, npu
from common.cli import UserError
from common.session import cluster
from common.test.testing import PATIENCE, checkpoints, clean_environment, hear_signals, json_lines, weights

TOY = str(Path(__file__).with_name("toy.py"))
LAUNCHER = str(Path(__file__).parent.with_name("launch_workers.py"))


def test_the_first_npu_is_known_before_it_opens():
    table = {"RANK_SIZE": "2", "RANK_TABLE_FILE": __file__}
    assert npu.place({}) == (True, False)
    assert [npu.place({**table, "RANK_ID": rank}) for rank in "01"] == [(True, True), (False, True)]
    cm = {"CM_WORKER_SIZE": "4", "CM_CHIEF_IP": "1.2.3.4", "CM_CHIEF_PORT": "6000", "CM_CHIEF_DEVICE": "0"}
    places = [{**cm, "CM_WORKER_IP": f"1.2.3.{i}", "ASCEND_DEVICE_ID": device} for i in (4, 5) for device in "01"]
    assert [npu.place(environ)[0] for environ in places] == [True, False, False, False]


# The environment that the launcher gives each.


def test_workers_of_one_machine_meet_on_free_ports():
    started = launch_workers.environments(2, ["x"], {"HOME": "/h", "RANK_SIZE": "8"})
    (one, addresses), (other, same) = (cluster(environment) for environment in started.values())
    assert list(started) == [0, 1] == [one, other] and addresses == same
    assert len({address.split(":")[1] for address in addresses}) == 2
    assert started[0]["HOME"] == "/h" and "RANK_SIZE" not in started[0]
    assert started[0]["TF_NUM_INTRAOP_THREADS"] == str(max(1, os.cpu_count() // 2))


def test_each_machine_starts_its_share():
    job = {"VC_WORKER_HOSTS": "job-0.svc,job-1.svc", "VC_TASK_INDEX": "1", "MASTER_PORT": "7000"}
    started = launch_workers.environments(4, ["x", "--device=cpu"], job)
    addresses = [f"job-{machine}.svc:{port}" for machine in (0, 1) for port in (7000, 7001)]
    assert list(started) == [2, 3] and cluster(started[2]) == (2, addresses)
    with pytest.raises(UserError, match="^--rank_size 3 cannot be split over the 2 machines of VC_WORKER_HOSTS$"):
        launch_workers.environments(3, ["x"], job)
    with pytest.raises(UserError, match="^VC_TASK_INDEX=2 in the environment is the number of none of 2 machines$"):
        launch_workers.environments(4, ["x"], {**job, "VC_TASK_INDEX": "2"})


def test_npus_get_a_rank_table_or_the_cm_variables_and_never_both():
    words = ["x", "--device=cpu", "--device", "npu"]
    table = {"RANK_TABLE_FILE": __file__, "VC_WORKER_HOSTS": "a,b", "VC_TASK_INDEX": "1", "RANK_ID": "9"}
    seen = launch_workers.environments(4, words, table)
    own = {rank: (e["RANK_ID"], e["ASCEND_DEVICE_ID"], e["RANK_SIZE"]) for rank, e in seen.items()}
    assert own == {2: ("2", "0", "4"), 3: ("3", "1", "4")}
    without = launch_workers.environments(2, words, {"RANK_SIZE": "8", "RANK_ID": "0", "CM_CHIEF_IP": "1.2.3.4"})
    own = {rank: (e["CM_WORKER_SIZE"], e["ASCEND_DEVICE_ID"], e["CM_CHIEF_IP"]) for rank, e in without.items()}
    assert own == {0: ("2", "0", "1.2.3.4"), 1: ("2", "1", "1.2.3.4")}
    for environment in (*seen.values(), *without.values()):
        npu.check_environment(environment)
        assert "TF_CONFIG" not in environment
    for words in (["x", "--device=cpu"], ["x"]):  # no npu_device here
        assert not launch_workers.on_npu(words, {"RANK_TABLE_FILE": "t"})


# How they end.

WORKER = """
import json, os, signal, sys, time
rank = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
signal.signal(signal.SIGTERM, lambda *_: (open(f"{sys.argv[2]}/saved{rank}", "w"), sys.exit(143)))
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
open(f"{sys.argv[2]}/part{rank}", "w").write(str(os.getpid()))
os.rename(f"{sys.argv[2]}/part{rank}", f"{sys.argv[2]}/{rank}")
print("begun", rank, flush=True)
if rank == 1 and sys.argv[1] == "fail":
    time.sleep(0.3)
    print("[Error] the disk is full", file=sys.stderr)
    sys.exit(7)
if sys.argv[1] != "end":
    time.sleep(60)
"""


def until(happened):
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def launch(tmp_path):
    """A function that starts two workers that do as a word says, and waits until both have begun."""
    started = []

    def start(word, ignored=None):
        def before():
            hear_signals()
            if ignored:
                signal.signal(ignored, signal.SIG_IGN)

        command = [sys.executable, LAUNCHER, "2", sys.executable, "-c", WORKER, word, str(tmp_path)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, env=clean_environment(), start_new_session=True, preexec_fn=before, **pipes)
        started.append(process)
        until(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists())
        return process

    yield start
    for process in started:
        process.kill()


def alive(tmp_path):
    return [rank for rank in "01" if os.path.exists(f"/proc/{(tmp_path / rank).read_text()}")]


def test_a_worker_that_fails_or_is_killed_ends_all_and_is_named(launch, tmp_path):
    """The first one has the terminal; of the others errors alone are shown."""
    process = launch("fail")
    said, told = process.communicate(timeout=30)
    assert process.returncode == 7 and alive(tmp_path) == [] and said == "begun 0\n"
    error, named, goes_on = told.splitlines()
    assert error == "[Error] the disk is full" and goes_on.startswith("[Info] the same command continues")
    assert named.startswith("[Error] worker 1 of 2 ended with exit status 7; the others are ended too")
    for rank in "01":
        (tmp_path / rank).unlink()
    process = launch("wait")
    os.kill(int((tmp_path / "1").read_text()), signal.SIGKILL)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 128 + 9 and alive(tmp_path) == []
    assert told.startswith("[Error] worker 1 of 2 was ended by SIGKILL; the others are ended too")


@pytest.mark.parametrize("number, saved", [(signal.SIGTERM, True), (signal.SIGHUP, True), (signal.SIGINT, False)])
def test_a_signal_reaches_all_once(launch, tmp_path, number, saved):
    process = launch("wait")
    os.killpg(process.pid, number)  # as a terminal's Ctrl-C: to the whole group
    _, told = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else 143) and alive(tmp_path) == [] and told == ""
    assert [(tmp_path / f"saved{rank}").exists() for rank in "01"] == [saved, saved]


def test_when_the_launcher_is_killed_its_workers_save_and_end(launch, tmp_path):
    process = launch("wait", ignored=signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)  # which the parent wants ignored
    process.kill()
    process.communicate(timeout=30)
    until(lambda: not alive(tmp_path))
    assert (tmp_path / "saved0").exists() and (tmp_path / "saved1").exists()


def test_all_well_is_0_and_a_size_that_is_none_is_refused(launch, tmp_path):
    process = launch("end")
    assert process.communicate(timeout=30) == ("begun 0\n", "") and process.returncode == 0
    done = subprocess.run([sys.executable, LAUNCHER, "two", "true"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "[Error] --rank_size two is not a whole number of at least 1\n")


# Two workers that train.


def command(folder, *flags):
    return [sys.executable, TOY, f"--output_path={folder}", "--device=cpu", *flags]


def alone(folder, *flags):
    subprocess.run(command(folder, *flags), env=clean_environment(), check=True, stdout=subprocess.DEVNULL)


def close(one, other):
    one, other = weights(one), weights(other)
    assert set(one) == set(other) and one
    for name in one:
        # The fused kernel's running variance is the unbiased one, that of --sync_batch_norm is not.
        rtol = 5e-3 if name.endswith("images_norm.3") else 1e-4
        np.testing.assert_allclose(one[name], other[name], rtol=rtol, atol=1e-5, err_msg=name)


def log(run, rank, word):
    lines = (run / f"train_{rank}.log").read_text().splitlines()
    return [line for line in lines if word in line]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    alone(folder, "--norms", "none", "own")
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two workers that end three runs, and of which the second is killed in a fourth one: their folder, the status of
    the first, what it said, and how many seconds it lived on."""
    folder = tmp_path_factory.mktemp("pair")
    toy, processes = command(folder, "--norms", "none", "own", "sync", "--save_endless"), []
    for rank, environment in launch_workers.environments(2, toy, clean_environment()).items():
        with open(folder / f"said_{rank}", "wb") as file:
            processes.append(subprocess.Popen(toy, env=environment, stdout=file, stderr=subprocess.STDOUT))
    try:
        until(lambda: checkpoints(folder / "endless" / "none") or processes[0].poll() is not None)
        processes[1].kill()
        killed = time.monotonic()
        status = processes[0].wait(timeout=120)
        return folder, status, (folder / "said_0").read_text(), time.monotonic() - killed
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_two_workers_make_the_steps_of_one(single, pair):
    """With batch normalisation where it is of the whole batch."""
    close(single / "none", pair[0] / "none")
    losses = [[row["train/loss"] for row in json_lines(run / "none" / "metrics.jsonl")] for run in (single, pair[0])]
    assert len(losses[0]) == 7
    np.testing.assert_allclose(*losses, rtol=1e-4)
    close(single / "own", pair[0] / "sync")
    one, two = weights(single / "own"), weights(pair[0] / "own")
    assert not np.allclose(one["generator/images_norm.3"], two["generator/images_norm.3"], rtol=1e-3)


def test_replicas_are_equal_and_no_sample_is_read_twice(pair):
    for run in ("none", "own", "sync"):
        [first], [second] = (
            [line.split(": ")[1] for line in log(pair[0] / run, rank, ": weights ")] for rank in (0, 1)
        )
        assert first == second and " after step 7" in first
        read = [json.loads(log(pair[0] / run, rank, "read:")[0][6:]) for rank in range(2)]
        assert sorted(read[0] + read[1]) == list(range(7 * 4)) and len(read[0]) == len(read[1])


def test_only_the_first_writes(pair):
    names = {path.name for path in (pair[0] / "none").iterdir()}
    assert names == {
        *("Toy_bs4_2p_acc.log", "Toy_bs4_2p_acc_loss.txt", "checkpoints", "metrics.jsonl", "options.json"),
        *("result.json", "run.lock", "tensorboard", "train_0.log", "train_1.log"),
    }
    result = json.loads((pair[0] / "none" / "result.json").read_text())
    assert result["rank_size"] == 2 and result["images_per_sec"] == pytest.approx(4 / result["sec_per_step"])


def test_a_lost_worker_is_named_and_one_alone_goes_on_from_the_last_checkpoint(pair):
    folder, status, said, seconds = pair
    assert status == 1 and seconds < 60, said[-3000:]
    assert "[Error] worker 0 of 2: worker 1 is lost, so the training ends here." in said
    assert "The same command continues from the last checkpoint." in said and "Traceback" not in said
    run = folder / "endless" / "none"
    last = checkpoints(run)[-1]
    alone(folder / "endless", f"--train_steps={last + 1}")
    assert log(run, 0, f"continuing the unfinished run in {run} from step {last}")


def test_sigterm_stops_all_after_the_same_step_and_one_alone_continues(single, tmp_path):
    run = tmp_path / "none"
    launched = [sys.executable, LAUNCHER, "2", *command(tmp_path, "--log_seconds=0.3")]
    with open(tmp_path / "said", "wb") as file:
        process = subprocess.Popen(launched, env=clean_environment(), stdout=file, stderr=subprocess.STDOUT)
    try:
        until(lambda: checkpoints(run) or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 143, (tmp_path / "said").read_text()[-3000:]
    finally:
        process.kill()
    first, second = (log(run, rank, "stopped by signal 15 after step") for rank in range(2))
    assert len(first) == 1 and first == second
    alone(tmp_path)
    close(single / "none", run)
