"""What a killed run leaves: its locks go where its process is gone; and what a changed config leaves is moved away."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dit_scaling.common.files import write_json
from dit_scaling.common.holder import Holder
from dit_scaling.config import parse_study
from dit_scaling.config.stages import Stages
from dit_scaling.results.run_control import RUNNER, drop_stale_locks, note_runner, pass_on_stops, stop_queued
from dit_scaling.results.withdrawal import report_digest, withdraw
from report_study import CONFIG

RESULTS = Path("results/toy")
LOCKS = Path(".snakemake/locks")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_lock(name: str, *files: str) -> Path:
    LOCKS.mkdir(parents=True, exist_ok=True)
    (LOCKS / name).write_text("".join(f"{file}\n" for file in files))
    return LOCKS / name


def write_runner(holder: Holder) -> None:
    write_json(RESULTS / RUNNER, holder.model_dump())


def test_locks_of_a_runner_that_is_gone_are_dropped_and_no_others() -> None:
    mine = [write_lock("0.input.lock", "results/toy/a"), write_lock("0.output.lock", "x", "results/toy/b")]
    other = write_lock("1.output.lock", "results/toys/a")
    gone = Holder.here().model_copy(update={"started": 1.0})
    write_runner(gone)
    assert drop_stale_locks(RESULTS, LOCKS) == gone
    assert [path.exists() for path in (*mine, other)] == [False, False, True]
    assert drop_stale_locks(RESULTS, LOCKS) is None


@pytest.mark.parametrize(
    "holder", [Holder.here(), Holder(host="elsewhere", pid=1, started=1.0)], ids=["alive", "on another host"]
)
def test_locks_of_a_runner_that_lives_or_cannot_be_looked_for_stay(holder: Holder) -> None:
    lock = write_lock("0.output.lock", "results/toy/b")
    write_runner(holder)
    assert drop_stale_locks(RESULTS, LOCKS) is None
    assert lock.exists()


def test_a_lock_that_is_newer_than_the_dead_runner_is_another_ones() -> None:
    write_runner(Holder.here().model_copy(update={"started": 1.0}))
    lock = write_lock("0.output.lock", "results/toy/b")
    os.utime(lock, ns=(2**62, 2**62))
    assert drop_stale_locks(RESULTS, LOCKS) is None
    assert lock.exists()


@pytest.mark.parametrize("content", [None, "", "{", "[1]"])
def test_without_a_record_of_the_runner_locks_stay(content: str | None) -> None:
    lock = write_lock("0.output.lock", "results/toy/b")
    if content is not None:
        (RESULTS / RUNNER).parent.mkdir(parents=True)
        (RESULTS / RUNNER).write_text(content)
    assert drop_stale_locks(RESULTS, LOCKS) is None
    assert lock.exists()


def test_the_runner_noted_is_this_process() -> None:
    note_runner(RESULTS)
    write_lock("0.output.lock", "results/toy/b")
    assert drop_stale_locks(RESULTS, LOCKS) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_is_passed_on_to_jobs_of_the_script_alone(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7));"
        "print(1, flush=True); time.sleep(60)"
    )
    jobs = []
    for name in ("tmp1.train_milestone.py", "tmp2.sample_part.py"):
        (tmp_path / name).write_text(code)
        job = subprocess.Popen([sys.executable, str(tmp_path / name)], stdout=subprocess.PIPE)
        assert job.stdout is not None
        job.stdout.readline()
        jobs.append(job)
    heard: list[int] = []
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGTERM, lambda signum, _: heard.append(signum))
    try:
        pass_on_stops("train_milestone")
        os.kill(os.getpid(), number)
        assert jobs[0].wait(timeout=10) == 7
        time.sleep(0.2)
        assert jobs[1].poll() is None
        assert heard == [number]
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        for job in jobs:
            job.kill()
            job.wait()


FAKE_SLURM = {
    "squeue": """cat <<END
7|RUNNING|{here}|rule_train_milestone_wildcards_DiT-S-2_0_100
8|RUNNING|{here}|rule_train_milestone_anew
9|PENDING|{here}|rule_train_milestone_wildcards_DiT|S
10|RUNNING|{here}/other|rule_train_milestone
11|RUNNING|{here}|rule_sample_part_wildcards_rule_train_milestone
12_3|RUNNING|{here}|rule_train_milestone
13|PENDING|{here}|(null)
END""",
    "scancel": 'echo "$*" >> {here}/told',
}


def test_jobs_in_slurms_queue_are_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FAKE_SLURM.items():
        (tmp_path / name).write_text("#!/bin/sh\n" + text.format(here=tmp_path) + "\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    stop_queued("train_milestone", tmp_path)
    assert (tmp_path / "told").read_text().splitlines() == ["9", "--signal=TERM 7 12_3"]


def test_a_queue_that_does_not_answer_stops_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "squeue").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    stop_queued("train_milestone", tmp_path)


def test_verdicts_of_other_settings_are_moved_out_of_the_way_once() -> None:
    study = parse_study(CONFIG)
    stages = Stages(study, "0" * 16)
    changed = Stages(study.model_copy(update={"seed": 9}), "0" * 16)
    (RESULTS / "figures").mkdir(parents=True)
    for name in ("metrics.csv", "claims.json", "figures/fid.svg"):
        (RESULTS / name).write_text("old")
    (RESULTS / "report.html").write_text(f'<meta name="settings-digest" content="{stages.report().digest}">')
    write_json(RESULTS / "provenance.json", {"settings_digest": stages.aggregate().digest})
    assert report_digest(RESULTS / "report.html") == stages.report().digest
    assert withdraw(RESULTS, stages) is None
    folder = withdraw(RESULTS, changed)
    assert folder == RESULTS / "withdrawn"
    assert {path.name for path in RESULTS.iterdir()} == {"withdrawn"}
    assert (folder / "figures" / "fid.svg").read_text() == "old"
    assert "its config was before" in (folder / "README.txt").read_text()
    assert withdraw(RESULTS, changed) is None
