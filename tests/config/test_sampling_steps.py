"""Further numbers of sampling steps: evaluations beside the study's own, which stay as they are."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dit_scaling.common.files import write_json
from dit_scaling.config import Stages, load_study, parse_study
from dit_scaling.config.evaluation import Evaluation
from dit_scaling.config.sampling_settings import folder_of_further, further_in
from dit_scaling.config.study import Study
from dit_scaling.data.assets import open_stages
from dit_scaling.plan.jobs import list_jobs
from dit_scaling.plan.space import disk_of
from dit_scaling.results.cleaning import cleanable
from dit_scaling.results.status import read_status
from pipeline import ROOT, TINY, edited, plan
from report_study import CONFIG

(PATTERN,) = re.findall(r'apart=r"(.+)",', (ROOT / "rules" / "common.smk").read_text())
IMAGES = 5000
RUNS = 6  # of the variants in CONFIG, with one seed


def study_of(steps: Any, **sampling: Any) -> Study:
    return parse_study(CONFIG | {"sampling": {**CONFIG["sampling"], "steps": steps, **sampling}})


@pytest.fixture
def own() -> Study:
    return study_of(50)


@pytest.fixture
def listed() -> Study:
    return study_of([50, 16, 8])


def test_a_list_of_one_is_the_number(own: Study) -> None:
    assert study_of([50]) == own
    assert study_of([50]).digest == own.digest


def test_a_list_comes_back_from_its_text(listed: Study) -> None:
    assert Study.parse(listed.canonical()) == listed
    settings = Stages(listed, "digits").aggregate()
    assert type(settings).parse(settings.canonical()) == settings


def test_the_studys_own_evaluations_stay_and_the_last_step_has_more(own: Study, listed: Study) -> None:
    rows = [row for row in listed.evaluations if row.further_steps is None]
    assert tuple(rows) == own.evaluations
    assert [row.canonical() for row in rows] == [row.canonical() for row in own.evaluations]
    further = [row for row in listed.evaluations if row.further_steps]
    assert len(further) == RUNS * 2 * 2  # two scales, two numbers of steps
    assert {(row.step, row.guidance_scale, row.further_steps) for row in further} == {
        (5000, scale, steps) for scale in (1.0, 1.5) for steps in (16, 8)
    }


def test_their_settings_differ_in_the_number_of_steps_alone(own: Study, listed: Study) -> None:
    run = "DiT-Nano-2", 0, 5000, 1.5
    before, after = Stages(own, "digits"), Stages(listed, "digits")
    sixteen = Stages(study_of(16), "digits")
    assert after.sample(*run) == before.sample(*run)
    assert after.sample(*run, 16) == sixteen.sample(*run)
    assert after.features(*run, "classifier", 16) == sixteen.features(*run, "classifier")
    assert after.score(*run, ("fd",), 16) == sixteen.score(*run, ("fd",))
    assert after.memorisation(*run) == before.memorisation(*run)
    assert after.preflight() == before.preflight()
    assert after.gate(*run[:3]) == before.gate(*run[:3])
    assert after.aggregate().digest != before.aggregate().digest


@given(st.none() | st.integers(2, 10**6))
def test_every_number_comes_back_from_its_folders_name(steps: int | None) -> None:
    folder = folder_of_further(steps)
    assert re.fullmatch(PATTERN, folder)
    assert further_in(folder) == steps


def test_they_lie_apart_from_the_studys_own(listed: Study) -> None:
    row = Evaluation(variant="DiT-Nano/2", seed=0, step=5000, sampler="ddpm", guidance_scale=1.5, further_steps=16)
    assert listed.folder_of(row) == "DiT-Nano-2/seed-0/step-5000/steps-16/guidance-1.5"
    assert study_of([50, 16], sampler="ddim").folder_of(row).endswith("/step-5000/ddim/steps-16/guidance-1.5")
    places = [listed.folder_of(row) for row in listed.evaluations]
    assert len(set(places)) == len(places)


def test_plan_counts_their_jobs_their_cost_and_their_space(own: Study, listed: Study) -> None:
    before, after = (list_jobs(some, Stages(some, "digits"), IMAGES) for some in (own, listed))
    assert [job for job in after if job in before] == before
    more = [job for job in after if job not in before]
    assert {job.stage for job in more} == {"sample", "features", "score"}
    assert len({(job.stage, job.name) for job in after}) == len(after)
    samples = [job for job in more if job.stage == "sample" and job.variant == "DiT-Mini/1"]
    of_own = next(job for job in before if job.stage == "sample" and job.name == "DiT-Mini/1 seed 0 step 5,000")
    costs = {job.name: job.multiply_adds / of_own.multiply_adds for job in samples}
    assert costs == {
        f"DiT-Mini/1 seed 0 step 5,000{guided} in {steps} sampling steps": pytest.approx(passes * steps / 50)
        for guided, passes in (("", 1), (" guidance 1.5", 2))
        for steps in (16, 8)
    }
    assert all("/steps-" in record for job in more for record in job.records)
    ratio = len(listed.evaluations) / len(own.evaluations)
    assert disk_of(listed, IMAGES).samples == pytest.approx(ratio * disk_of(own, IMAGES).samples)


def test_status_waits_for_them(own: Study, listed: Study, tmp_path: Path) -> None:
    before, after = (read_status(some, Stages(some, "digits"), tmp_path).runs[0] for some in (own, listed))
    assert (before.scored, after.scored) == ((0, 4), (0, 8))
    assert (before.sampled, after.sampled) == ((0, 4), (0, 8))


def test_their_samples_go_once_their_features_are_there(tmp_path: Path) -> None:
    study = load_study(edited(tmp_path, {"sampling.keep_samples": False, "sampling.steps": [5, 3]}))
    folder = tmp_path / "DiT-Nano-2" / "seed-0" / "step-20" / "steps-3" / "guidance-1.0"
    part = folder / "samples" / "part-00000.npz"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"images")
    assert cleanable(study, tmp_path) == []
    features = folder / "features" / "classifier" / "features.json"
    features.parent.mkdir(parents=True)
    features.write_text("{}")
    of_now = open_stages(study, tmp_path).features("DiT-Nano-2", 0, 20, 1.0, "classifier", 3).digest
    write_json(features.with_name("provenance.json"), {"settings_digest": of_now})
    (heap,) = cleanable(study, tmp_path)
    assert heap.files == (part,)


@pytest.mark.dag
def test_snakemake_plans_them_at_the_last_step_of_every_run(tmp_path: Path) -> None:
    config = edited(tmp_path, {"sampling.steps": [5, 3], "sampling.guidance_scales": [1.0, 4.0]})
    jobs = plan(tmp_path, config=config)
    slugs = [name.replace("/", "-") for name in yaml.safe_load(TINY.read_text())["variants"]]
    ends = [("step-10", ""), ("step-20", ""), ("step-20", "steps-3/")]
    folders = {
        f"results/tiny/{slug}/seed-0/{step}/{apart}guidance-{scale}"
        for slug in slugs
        for step, apart in ends
        for scale in (1.0, 4.0)
    }
    assert jobs["sample_part"] == {f"{folder}/samples/part-00000.npz" for folder in folders}
    assert jobs["extract_features"] == {f"{folder}/features/classifier/features.json" for folder in folders}
    assert jobs["score_samples"] == {f"{folder}/metrics.json" for folder in folders}
    assert len(jobs["memorisation"]) == len(slugs)
    assert not any("steps-" in file for file in jobs["memorisation"])
    study = load_study(config)
    records = {record for job in list_jobs(study, open_stages(study, tmp_path), IMAGES) for record in job.records}
    assert {f"{folder.removeprefix('results/tiny/')}/provenance.json" for folder in folders} <= records
