"""Results that the whole study shares and that were made for other settings: found, and moved out of the way."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from dit_scaling.common.files import atomic_path
from dit_scaling.common.provenance import settings_digest
from dit_scaling.config.stages import Stages

WITHDRAWN = "withdrawn"
REPORT = "report.html"
VERDICTS = (
    *("metrics.parquet", "metrics.csv", "training.csv", "claims.json", "claims.csv", "agreement.csv"),
    *("sampling-steps.csv", "provenance.json", "figures", "tables", REPORT),
)
"""What aggregate, figures and report make."""
MARK = re.compile(rb'<meta name="settings-digest" content="([0-9a-f]{16})">')


def report_digest(report: Path) -> str | None:
    """The digest of the settings that a report was made for; None where there is no report, or it holds none."""
    try:
        with report.open("rb") as stream:
            match = MARK.search(stream.read(4096))
    except OSError:
        return None
    return match[1].decode() if match else None


def of_other_settings(results: Path, stages: Stages) -> bool:
    """Whether the verdicts or the report that lie in ``results`` were made for other settings than those of now."""
    made: Mapping[str | None, str] = {
        settings_digest(results / "provenance.json"): stages.aggregate().digest,
        report_digest(results / REPORT): stages.report().digest,
    }
    return any(found not in (None, wanted) for found, wanted in made.items())


def withdraw(results: Path, stages: Stages) -> Path | None:
    """Move verdicts and report of other settings to a folder of their own; the folder, or None where there are none."""
    if not of_other_settings(results, stages):
        return None
    folder = results / WITHDRAWN
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in VERDICTS:
        if (results / name).exists():
            (results / name).rename(folder / name)
    with atomic_path(folder / "README.txt") as note:
        note.write_text(
            f"These are verdicts on study {results.name} as its config was before. It has changed since, and the run "
            "that made them anew, or was to, moved them here.\n"
        )
    return folder
