"""What a run tells at the terminal, from the events that Snakemake logs."""

import io
import json
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dit_scaling.common.stage_words import RULES
from dit_scaling.plan.time_left import TimeLeft, Work
from dit_scaling.report.cost_tables import PARTS
from growing_report import GrowingReport
from pipeline import ROOT
from run_lines import HANDLER, RunLines, be_quiet

TODO = {
    1: Work("train_milestone", ("DiT-Nano-1/seed-0/step-10/provenance.json",)),
    2: Work("gate", ("DiT-Nano-1/seed-0/step-10/gate.json",)),
    3: Work("report", ("report.html",)),
}
WILDCARDS = {"variant": "DiT-Nano-1", "seed": "0", "step": "10"}


def event(name: str, created: float = 0.0, **facts: Any) -> logging.LogRecord:
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, facts.pop("msg", name), None, None)
    record.__dict__ |= {"event": SimpleNamespace(name=name), "created": created, **facts}
    return record


def run(lines: RunLines, job: int, began: float, ended: float) -> None:
    lines.emit(event("JOB_INFO", began, jobid=job, wildcards=WILDCARDS if job < 3 else {}))
    lines.emit(event("JOB_FINISHED", ended, job_id=job))


def lines_of(results: Path, tells_jobs: bool = True) -> tuple[RunLines, io.StringIO, list[str]]:
    told, after = io.StringIO(), []
    return RunLines(results, TODO, TimeLeft({}), tells_jobs, after.append, told), told, after


def test_a_line_a_job_with_its_stage_and_the_time_left(tmp_path: Path) -> None:
    lines, told, after = lines_of(tmp_path)
    now = time.time()
    run(lines, 1, now, now + 30)
    run(lines, 2, now + 30, now + 40)
    run(lines, 3, now + 40, now + 41)
    assert told.getvalue().splitlines() == [
        "1 of 3  stage 1 of 3: train DiT-Nano-1 seed 0 step 10  30 s  about 60 s left",
        "2 of 3  stage 2 of 3: gate DiT-Nano-1 seed 0 step 10  10 s  about 20 s left",
        "3 of 3  stage 3 of 3: report  1 s",
    ]
    assert after == ["train_milestone", "gate", "report"]


@pytest.mark.parametrize(("status", "tells_jobs"), [("broken", True), ("broken", False), ("on track", True)])
def test_a_broken_run_is_told_at_once_with_its_page(tmp_path: Path, status: str, tells_jobs: bool) -> None:
    place = tmp_path / "DiT-Nano-1/seed-0/step-10"
    place.mkdir(parents=True)
    gate = {
        "variant": "DiT-Nano/1",
        "seed": 0,
        "step": 10,
        "status": status,
        "reason": "the EMA lags.",
        "page": "g.html",
    }
    (place / "gate.json").write_text(json.dumps({**gate, "settings_digest": "0"}))
    lines, told, _ = lines_of(tmp_path, tells_jobs)
    run(lines, 2, 0.0, 1.0)
    warning = f"BROKEN: DiT-Nano/1 seed 0 at step 10: the EMA lags. See {place / 'g.html'}\n"
    assert told.getvalue().endswith(warning) == (status == "broken")
    assert told.getvalue().startswith("1 of 3") == tells_jobs


def test_what_fails_in_a_line_fails_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_rule: str) -> None:
        raise OSError

    monkeypatch.setattr(logging, "raiseExceptions", False)
    lines = RunLines(tmp_path, TODO, TimeLeft({}), True, fail, io.StringIO())
    run(lines, 1, 0.0, 1.0)
    run(lines, 3, 1.0, 2.0)


def test_the_terminal_keeps_warnings_and_words_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    logger, stream = logging.Logger("snakemake"), io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.name = HANDLER
    logger.addHandler(handler)
    monkeypatch.setenv("DIT_SCALING_QUIET", "")
    be_quiet(logger)
    for record in (
        event("JOB_INFO", msg="rule train: ..."),
        event("PROGRESS", msg="1 of 3 steps"),
        event("", msg="Building DAG of jobs..."),
        event("", msg="Nothing to be done"),
        logging.LogRecord("snakemake", logging.ERROR, "", 0, "Error in rule train", None, None),
    ):
        logger.handle(record)
    assert stream.getvalue().splitlines() == ["Nothing to be done", "Error in rule train"]


def test_every_rule_that_makes_something_has_a_stage() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    parts = re.split(r"^ *rule (\w+):$", text, flags=re.MULTILINE)
    rules = {name for name, body in zip(parts[1::2], parts[2::2], strict=True) if "output:" in body}
    assert rules == {rule for own in RULES.values() for rule in own}


def test_every_record_of_time_is_told_under_the_stage_of_its_rule() -> None:
    for path in (ROOT / "rules").glob("*.smk"):
        parts = re.split(r"^ *rule (\w+):$", path.read_text(), flags=re.MULTILINE)
        for rule, body in zip(parts[1::2], parts[2::2], strict=True):
            for record in re.findall(r'"<results>/times/(\w+)', body):
                assert rule in RULES[PARTS[record]], (rule, record)


class FakeProcess:
    """In the place of the process that writes a report."""

    def __init__(self, seconds: float) -> None:
        program = f"import time; begin = time.process_time()\nwhile time.process_time() - begin < {seconds}: pass"
        self.started: list[subprocess.Popen[bytes]] = []
        self._program, self._start = program, subprocess.Popen

    def wait_for_first(self) -> None:
        """Until it has ended, and leave it to be waited for."""
        os.waitid(os.P_PID, self.started[0].pid, os.WEXITED | os.WNOWAIT)

    def __call__(self, _command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        self.started.append(self._start([sys.executable, "-c", self._program], **options))
        return self.started[-1]


def test_the_report_grows_within_its_share_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, clock = SimpleNamespace(model_dump_json=lambda: "{}"), SimpleNamespace(now=0.0)
    process = FakeProcess(0.2)
    monkeypatch.setattr("growing_report.subprocess.Popen", process)
    monkeypatch.setattr("growing_report.time", SimpleNamespace(monotonic=lambda: clock.now))
    page = tmp_path / "report.html"
    growing = GrowingReport(study, page, logging.Logger("run"))  # type: ignore[arg-type]
    growing.after_job("score_samples")
    assert not process.started  # The run has just begun.
    clock.now = 100.0
    growing.after_job("train_milestone")
    assert not process.started
    growing.after_job("memorisation")
    growing.after_job("score_samples")  # while the first is being written
    assert len(process.started) == 1
    page.write_text("")
    process.wait_for_first()
    clock.now = 1000.0
    growing.after_job("score_samples")
    assert len(process.started) == 2
    growing.stop()
    assert process.started[1].poll() is not None


def test_no_second_report_before_there_is_time_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, clock = SimpleNamespace(model_dump_json=lambda: "{}"), SimpleNamespace(now=61.0)
    process = FakeProcess(0.2)
    monkeypatch.setattr("growing_report.subprocess.Popen", process)
    monkeypatch.setattr("growing_report.time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr("growing_report.SHARE", 1e-4)
    page = tmp_path / "report.html"
    page.write_text("")
    growing = GrowingReport(study, page, logging.Logger("run"))  # type: ignore[arg-type]
    clock.now = 130.0
    growing.after_job("score_samples")
    process.wait_for_first()
    for _ in range(3):
        growing.after_job("score_samples")
    assert len(process.started) == 1
