"""The time that is left: the plan's, corrected by what is done."""

from pathlib import Path

import pytest

from dit_scaling.config import Stages, load_study
from dit_scaling.plan import price
from dit_scaling.plan.jobs import list_jobs
from dit_scaling.plan.price import devices_as_measured, stated_devices
from dit_scaling.plan.time_left import CPU, START, TimeLeft, Work, price_files, price_study

CONFIG = Path(__file__).parents[2] / "config" / "config.yaml"
LONG, SHORT = Work("train", ("long",)), Work("train", ("short",))
OTHER = Work("sample", ("samples",))


@pytest.fixture
def time_left() -> TimeLeft:
    return TimeLeft({"long": 97.0, "short": 17.0, "samples": 7.0})


def test_nothing_is_known_before_a_job_is_done(time_left: TimeLeft) -> None:
    assert time_left.seconds([(LONG, 0.0)], 1.0) is None


def test_jobs_of_a_rule_take_as_much_more_than_planned_as_those_before(time_left: TimeLeft) -> None:
    time_left.done(SHORT, 3 * (START + 17.0))
    assert time_left.seconds([(LONG, 0.0)], 1.0) == pytest.approx(3 * (START + 97.0))
    assert time_left.seconds([(OTHER, 0.0)], 1.0) == pytest.approx(3 * (START + 7.0))
    time_left.done(OTHER, START + 7.0)
    assert time_left.seconds([(OTHER, 0.0)], 1.0) == pytest.approx(START + 7.0)
    assert time_left.seconds([(LONG, 0.0)], 1.0) == pytest.approx(3 * (START + 97.0))


def test_jobs_run_side_by_side_but_no_job_beside_itself(time_left: TimeLeft) -> None:
    time_left.done(SHORT, START + 17.0)
    assert time_left.seconds([(LONG, 0.0)] * 3, 2.0) == pytest.approx(3 * (START + 97.0) / 2)
    assert time_left.seconds([(LONG, 0.0)], 2.0) == pytest.approx(START + 97.0)
    assert time_left.seconds([(LONG, 60.0)], 2.0) == pytest.approx(START + 37.0)


def test_the_plan_prices_every_record_that_it_names() -> None:
    study = load_study(CONFIG)
    devices = stated_devices("a100", 1, 0.4, study)
    jobs = list_jobs(study, Stages(study, "digits"), 5000)
    prices = price_files(jobs, devices)
    assert set(prices) == {record for job in jobs for record in job.records}
    training = [job for job in jobs if job.stage == "train"]
    assert prices[training[0].records[0]] == pytest.approx(devices.seconds(training[0]))
    in_all = sum(devices.seconds(job) for job in jobs if job.stage == "sample")
    records = [record for job in jobs if job.stage == "sample" for record in job.records]
    assert sum(prices[record] for record in records) == pytest.approx(in_all)


@pytest.mark.parametrize(
    ("device", "driver", "on_cpu"), [("cpu", True, True), ("auto", False, True), ("cuda", False, False)]
)
def test_what_is_left_is_priced_for_what_computes(
    monkeypatch: pytest.MonkeyPatch, device: str, driver: bool, on_cpu: bool
) -> None:
    monkeypatch.setattr(price, "driver_is_here", lambda: driver)
    study = load_study(CONFIG)
    study = study.model_copy(update={"resources": study.resources.model_copy(update={"device": device})})
    stages = Stages(study, "digits")
    devices = CPU if on_cpu else devices_as_measured("a100", 1, study)
    assert price_study(study, stages, 5000).priced == price_files(list_jobs(study, stages, 5000), devices)
