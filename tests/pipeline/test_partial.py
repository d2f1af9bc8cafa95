"""A study some of whose jobs failed ends in a page that says so first, and shows what the others made."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from damage import cut
from dit_scaling.config import Study, load_study
from dit_scaling.data.assets import open_stages
from dit_scaling.report.partial import write_partial_report
from dit_scaling.report.so_far import write_report_so_far
from dit_scaling.results.job_records import read_records
from jobs import EVALUATION, RESULTS, SmallStudy, run_job

OTHER = "DiT-Nano/1"


@pytest.fixture
def study(small_study: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The finished small study, copied, with one variant more that nothing was made of; its folder is where we are."""
    monkeypatch.chdir(shutil.copytree(small_study.folder, tmp_path / "study"))
    study = load_study(Path("study.yaml"))
    return study.model_copy(update={"variants": (*study.variants, OTHER)})


def write(study: Study) -> tuple[str, list[str]] | None:
    written = write_partial_report(study, open_stages(study, Path(RESULTS)), Path(RESULTS))
    return None if written is None else (written[0].read_text(), [job.rule for job in written[1]])


def fail(small_study: SmallStudy) -> None:
    """Let the job that searches the small study's samples find them cut, which leaves its record alone."""
    cut(f"{EVALUATION}/samples/part-00000.npz")(Path.cwd())
    assert run_job("memorisation", small_study.jobs["memorisation"]) == 2


def test_without_a_failure_there_is_no_partial_report(study: Study) -> None:
    assert read_records(Path(RESULTS)) == []
    assert write(study) is None
    assert not Path(RESULTS, "partial").exists()


def test_what_failed_comes_first_and_what_is_whole_after_it(study: Study, small_study: SmallStudy) -> None:
    fail(small_study)
    written = write(study)
    assert written is not None
    page, failed = written
    assert failed == ["memorisation"]
    banner, title = page.index('class="alarm" role="alert"><b>Failed: 1 job.'), page.index("small: a scaling study")
    assert banner < page.index(f"{EVALUATION}/memorisation.json</code> (memorisation)") < title
    assert "is not as the job that made it left it" in page[banner:title]
    assert "DiT-Nano/2" in page
    assert OTHER not in page
    assert {path.name for path in Path(RESULTS, "partial").iterdir()} >= {"metrics.csv", "figures", "tables"}


@pytest.mark.parametrize(
    "lost",
    [f"{EVALUATION}/metrics.json", f"{EVALUATION}/memorisation.json", f"{RESULTS}/reference/classifier/levels.json"],
)
def test_without_a_whole_variant_the_page_is_about_the_failure_alone(
    study: Study, small_study: SmallStudy, lost: str
) -> None:
    fail(small_study)
    Path(lost).unlink()
    written = write(study)
    assert written is not None
    page, _ = written
    assert "Failed: 1 job.</b> There is no report: " in page
    assert "no variant is scored yet" in page


def test_the_report_so_far_says_of_how_many_runs_it_is(study: Study) -> None:
    page = write_report_so_far(study, open_stages(study, Path(RESULTS)), Path(RESULTS))
    assert page == Path(RESULTS, "partial", "report.html")
    html = page.read_text()
    assert "as of 1 of 2 runs" in html[html.index("<body") : html.index("<h1")]
    assert OTHER not in html
    table = pd.read_csv(page.with_name("metrics.csv"))
    assert set(table["variant"]) == {"DiT-Nano/2"}


def test_a_study_of_two_seeds_is_reported_by_its_first(study: Study) -> None:
    training = study.training.model_copy(update={"seeds": (*study.training.seeds, 7)})
    more = study.model_copy(update={"training": training, "variants": study.variants[:1]})
    page = write_report_so_far(more, open_stages(more, Path(RESULTS)), Path(RESULTS))
    assert page is not None
    assert "as of 1 of 2 runs" in page.read_text()


def test_before_the_first_evaluation_there_is_no_report_so_far(study: Study) -> None:
    Path(f"{EVALUATION}/metrics.json").unlink()
    assert write_report_so_far(study, open_stages(study, Path(RESULTS)), Path(RESULTS)) is None
    assert not Path(RESULTS, "partial").exists()


def test_a_job_that_is_done_takes_its_record_with_it(study: Study, small_study: SmallStudy) -> None:
    whole = Path(f"{EVALUATION}/samples/part-00000.npz").read_bytes()
    fail(small_study)
    (record,) = read_records(Path(RESULTS))
    assert record.failure is not None
    assert "is not as the job that made it left it" in record.failure
    Path(f"{EVALUATION}/samples/part-00000.npz").write_bytes(whole)
    assert run_job("memorisation", small_study.jobs["memorisation"]) == 0
    assert read_records(Path(RESULTS)) == []
    assert write(study) is None
