"""A report from the first evaluation on, written again and again while the study runs, at next to no cost."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from dit_scaling.config.study import Study

SHARE = 0.02
"""CPU seconds that reports before the last one may take for each second of a run."""
SOON = 60.0
"""Seconds before which there is none: a run that ends within a minute needs none before its last."""
EVALUATED = ("score_samples", "memorisation")
"""Rules after which there may be more to report."""


class GrowingReport:
    """Has the report so far written by another process of the lowest priority, one at a time.

    Args:
        study: the study that runs.
        page: where the report so far will be.
        logger: is told where the first one is.
    """

    def __init__(self, study: Study, page: Path, logger: logging.Logger) -> None:
        self._study, self._page, self._logger = study.model_dump_json(), page, logger
        self._process: subprocess.Popen[bytes] | None = None
        self._begin, self._spent = time.monotonic(), 0.0
        self._told = False

    def after_job(self, rule: str) -> None:
        """Begin to write one, where there may be more to report and time for it."""
        self._collect()
        if rule in EVALUATED and self._process is None and self._affordable():
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dit_scaling.report.so_far"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            psutil.Process(self._process.pid).nice(19)
            if self._process.stdin:
                self._process.stdin.write(self._study.encode())
                self._process.stdin.close()

    def stop(self) -> None:
        """End the process, if one is writing: the last report is whole without it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def _affordable(self) -> bool:
        seconds = time.monotonic() - self._begin
        return seconds >= SOON and self._spent <= SHARE * seconds

    def _collect(self) -> None:
        """See whether the process has ended, and what it cost."""
        if self._process is None:
            return
        ended, _, usage = os.wait4(self._process.pid, os.WNOHANG)
        if not ended:
            return
        self._process.returncode, self._process = 0, None
        self._spent += usage.ru_utime + usage.ru_stime
        if self._page.exists() and not self._told:
            self._told = True
            self._logger.info(f"The report so far, which grows: {self._page}")
