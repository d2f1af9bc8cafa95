"""What each job of a study is doing, and why it failed: a small file per job, from its start until it is done.

A job that was killed leaves its file, which names a process that is gone.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from dit_scaling.common.files import atomic_path
from dit_scaling.common.holder import STALE_SECONDS, Holder

RECORDS = ".jobs"
KILLED = "it was killed: its process is gone, and it left no message"


class JobRecord(BaseModel):
    """A job that runs, or that ran and did not end well."""

    rule: str
    wildcards: dict[str, str]
    output: str
    log: str
    holder: Holder
    error: str | None = None
    """Why it failed; None while it runs, and where it was killed."""

    @property
    def is_here(self) -> bool:
        """Whether it can be told here if it runs."""
        return self.holder.host == Holder.here().host

    @property
    def failure(self) -> str | None:
        """Why it failed; None where it runs, or runs elsewhere as far as can be told."""
        return self.error or (KILLED if self.is_here and not self.holder.lives(0.0) else None)

    def lives(self, now: float) -> bool:
        """Whether the job runs: its process is looked for, or, on another host, its log was written not long ago.

        Args:
            now: seconds since the epoch.
        """
        if self.failure:
            return False
        try:
            return self.is_here or now - Path(self.log).stat().st_mtime < STALE_SECONDS
        except OSError:
            return False


@contextlib.contextmanager
def recorded(results: Path, rule: str, wildcards: Mapping[str, str], output: Path, log: Path) -> Iterator[None]:
    """Keep the record of a job while the block runs; one that fails stays, with its message.

    A disk that takes no such record does not stop the job.
    """
    path = _record_path(results, log)
    record = JobRecord(rule=rule, wildcards=dict(wildcards), output=str(output), log=str(log), holder=Holder.here())
    _write(path, record)
    try:
        yield
    except Exception as error:
        _write(path, record.model_copy(update={"error": str(error) or type(error).__name__}))
        raise
    except BaseException:  # It was asked to stop.
        path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)


def read_records(results: Path) -> list[JobRecord]:
    """The records of jobs that run or failed, in the order of their logs' names."""
    found = []
    for path in sorted((results / RECORDS).rglob("*.json")):
        with contextlib.suppress(OSError, ValidationError):
            found.append(JobRecord.model_validate_json(path.read_bytes()))
    return found


def _record_path(results: Path, log: Path) -> Path:
    return results / RECORDS / f"{log.relative_to(results / 'logs')}.json"


def _write(path: Path, record: JobRecord) -> None:
    with contextlib.suppress(OSError), atomic_path(path) as temporary:
        temporary.write_text(record.model_dump_json(indent=2))
