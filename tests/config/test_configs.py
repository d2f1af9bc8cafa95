"""The studies of the folder config: each is valid, says what it costs and reaches, and plans the jobs it should."""

import re
from pathlib import Path

import pytest
import yaml

from dit_scaling.config import Stages, load_study
from dit_scaling.data.imagenet import TRAINING
from dit_scaling.paper.deviations import compare_protocol, doubtful_reasons
from dit_scaling.paper.published import xl2_long
from dit_scaling.plan.expectation import expected_bands
from dit_scaling.plan.jobs import list_jobs
from dit_scaling.plan.price import PRESETS, STAGES, Price, devices_as_measured, price_of, stated_devices
from dit_scaling.plan.space import disk_of, peak_memory
from pipeline import ROOT, Plan, plan

CONFIGS = ROOT / "config"
IMAGES = {"cifar10": 50_000}
ONCE = dict.fromkeys(("data", "vae", "reference", "aggregate", "figures", "report"), 1)
FETCHED = {"fetch": 4, "extractor": 1}
TRAINED = {"encode_shard": 33, "latents": 1, "preflight": 1}
PAPERS = ("imagenet256", "imagenet256-claims", "imagenet256-52k", "dit-xl2-released", "cifar10")


def jobs_of(trainings: int, parts: int, scores: int, memorisations: int) -> dict[str, int]:
    """Jobs of each rule of a study that trains: every training ends at a gate."""
    return {
        "train_milestone": trainings,
        "gate": trainings,
        "sample_part": parts,
        "extract_features": scores,
        "score_samples": scores,
        "levels": 1,
        "memorisation": memorisations,
        "held_out_loss": memorisations,  # each variant has one seed
    }


def header_of(path: Path) -> str:
    return "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))


def plan_with_images(folder: Path, name: str, classes: int) -> Plan:
    """What a study plans on a folder with one empty image per class in the place of its own images."""
    for label in range(classes):
        (folder / "images" / f"{label:04d}").mkdir(parents=True)
        (folder / "images" / f"{label:04d}" / "0.png").touch()
    override = folder / "override.yaml"
    override.write_text(yaml.safe_dump({"data": {"path": "images"}}))
    return plan(folder, "--configfile", str(CONFIGS / name), str(override), config=None)


@pytest.mark.dag
@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        pytest.param(
            "imagenet256.yaml",
            1000,
            {**FETCHED, **TRAINED, **jobs_of(72, 1536, 48, 12)},
            marks=pytest.mark.slow,  # ten seconds, and the next is of the same kind
        ),
        ("imagenet256-claims.yaml", 1000, {**FETCHED, **TRAINED, **jobs_of(12, 128, 4, 4)}),
        ("imagenet256-52k.yaml", 1000, {**FETCHED, **TRAINED, **jobs_of(12, 256, 8, 4)}),
        (
            "dit-xl2-released.yaml",
            1000,
            {
                "fetch": 5,
                "extractor": 1,
                "sample_part": 96,
                "extract_features": 3,
                "levels": 1,
                "score_samples": 3,
                "memorisation": 1,
            },
        ),
        ("cifar10.yaml", 10, {**TRAINED, "encode_shard": 5, "classifier": 1, **jobs_of(8, 16, 8, 4)}),
    ],
)
def test_study_plans_its_jobs(tmp_path: Path, name: str, classes: int, expected: dict[str, int]) -> None:
    jobs = plan_with_images(tmp_path, name, classes)
    assert {rule: len(files) for rule, files in jobs.items()} == ONCE | expected


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_says_its_command_its_cost_and_what_it_reaches(path: Path) -> None:
    header = header_of(path)
    assert "#   command " in header
    if path.name != "config.yaml":
        assert path.name in header
        assert "#   cost" in header
        assert "#   reaches " in header or "#   shows " in header


JOBS_OF_STAGE = {
    "latents": "encode_shard",
    "sample": "sample_part",
    "features": "extract_features",
    "score": "score_samples",
    "reference": "reference",
}


@pytest.mark.parametrize("name", ["imagenet256", "imagenet256-claims", "imagenet256-52k", "dit-xl2-released"])
def test_the_header_says_the_cost_on_an_h200_with_and_without_the_fast_overlay(name: str) -> None:
    path = CONFIGS / f"{name}.yaml"
    stated = re.search(r"([\d.]+) H200 hours, ([\d.]+) with config/fast.yaml", header_of(path))
    assert stated is not None
    for number, overlays in zip(stated.groups(), ((), (CONFIGS / "fast.yaml",)), strict=True):
        study = load_study(path, *overlays)
        devices = devices_as_measured("h200", 8, study)
        jobs = list_jobs(study, Stages(study, "", "", study.checkpoints), TRAINING)
        assert float(number) == pytest.approx(sum(devices.seconds(job) for job in jobs) / 3600, rel=0.01)


@pytest.mark.parametrize("name", PAPERS)
def test_the_slurm_profile_gives_each_job_its_time(name: str) -> None:
    """At two fifths of an A100's peak; training may take all attempts, as it goes on where it was."""
    study, profile = load_study(CONFIGS / f"{name}.yaml"), yaml.safe_load((ROOT / "slurm/config.yaml").read_text())
    devices, rules = stated_devices("a100-40gb", 1, 0.4, study), profile["set-resources"]
    for job in list_jobs(study, Stages(study, "", "", study.checkpoints), IMAGES.get(name, TRAINING)):
        if job.stage == "train":
            training = rules["train_milestone"]
            minutes, parts = (1 + profile["retries"]) * training["runtime"], training["gpu"]
        else:
            resources = rules.get(JOBS_OF_STAGE.get(job.stage, "vae"), {})
            minutes, parts = resources.get("runtime", profile["default-resources"]["runtime"]), job.parts
        assert devices.seconds(job) / parts + job.core_seconds / job.cores < 60 * minutes, job.name


@pytest.mark.parametrize("name", PAPERS)
def test_costs_and_hardware_of_the_header_are_the_plans(name: str) -> None:
    study, header = load_study(CONFIGS / f"{name}.yaml"), header_of(CONFIGS / f"{name}.yaml")
    command = re.search(rf"plan config/{name}.yaml --device (\S+) --devices (\d) --utilisation 0.4\n", header)
    assert command is not None
    device, count = command[1], int(command[2])

    def prices(ranks: int) -> dict[str, Price]:
        split = study.model_copy(update={"resources": study.resources.model_copy(update={"gpus_per_node": ranks})})
        jobs = list_jobs(split, Stages(split, "", "", split.checkpoints), IMAGES.get(name, TRAINING))
        devices = stated_devices(device, count, 0.4, study)
        return {stage: price_of([job for job in jobs if job.stage == stage], devices) for stage in STAGES}

    hours = {stage: price.device_seconds / 3600 for stage, price in prices(1).items()}
    hours |= {"A100 hours": sum(hours.values()), "training": hours["train"], "sampling": hours["sample"]}
    hours["GB of disk"] = disk_of(study, IMAGES.get(name, TRAINING)).total / 1e9
    stated = re.findall(r"(\d[\d,.]*) (A100 hours|training|sampling|GB of disk)", header)
    assert {what for _, what in stated} == {"A100 hours", "sampling", "GB of disk", *["training"] * bool(study.trained)}
    for number, what in stated:
        assert float(number.replace(",", "")) == pytest.approx(hours[what], rel=0.01), what
    for pattern, ranks in (
        (r"On \w+ A100 ([\d.]+) days", 1),
        (r"([\d.]+)\s+with[#\s]+resources: {gpus_per_node: 8}", 8),
    ):
        for days in re.findall(pattern, header):
            assert float(days) == pytest.approx(
                sum(price.wall_seconds for price in prices(ranks).values()) / 86400, abs=0.6
            )
    memory = 16 if name == "cifar10" else PRESETS[device][1]
    for variant in study.trained:
        needed = peak_memory(study, study.variant(variant), 1, memory * 1e9)
        assert needed is not None
        assert needed < memory * 1e9, variant


def test_what_the_headers_promise_was_published() -> None:
    whole, claims, short = (CONFIGS / f"imagenet256{part}.yaml" for part in ("", "-claims", "-52k"))
    fid = {name: band.published for name, band in expected_bands(load_study(whole)).items()}
    assert f"{fid['DiT-S/8']:.1f} (S/8) to {fid['DiT-XL/2']:.1f} (XL/2)" in header_of(whole)
    for name, band in expected_bands(load_study(claims)).items():
        assert f"{name.removeprefix('DiT-')} {band.published:.1f}" in header_of(claims)
    for name, band in expected_bands(load_study(short)).items():
        assert f"{band.low:.0f} to {band.high:.0f} ({name.removeprefix('DiT-')})" in header_of(short)


@pytest.mark.parametrize("name", PAPERS)
def test_every_deviation_has_a_reason(name: str) -> None:
    study = load_study(CONFIGS / f"{name}.yaml")
    assert doubtful_reasons(study, compare_protocol(study, IMAGES.get(name, TRAINING))) == []


def test_the_whole_study_is_the_papers() -> None:
    study = load_study(CONFIGS / "imagenet256.yaml")
    assert set(study.variants) == {f"DiT-{size}/{patch}" for size in ("S", "B", "L", "XL") for patch in (2, 4, 8)}
    assert study.training.exports == (50_000, 100_000, 200_000, 400_000)
    assert study.latent_size == 32
    assert study.sampling.guidance_scales == (1.0,)


@pytest.mark.parametrize("name", PAPERS)
def test_gates_whose_limits_no_healthy_run_of_such_images_has_passed_stop_nothing(name: str) -> None:
    assert load_study(CONFIGS / f"{name}.yaml").training.gates != "stop"


def test_the_earlier_attempt_is_judged_without_its_guidance() -> None:
    study = load_study(CONFIGS / "imagenet256-52k.yaml")
    assert study.training.exports == (52_000,)
    assert study.sampling.guidance_scales == (1.0, 4.0)
    assert study.variants == load_study(CONFIGS / "imagenet256-claims.yaml").variants


def test_the_released_weights_are_sampled_as_they_were_published() -> None:
    study = load_study(CONFIGS / "dit-xl2-released.yaml")
    published = xl2_long().dropna(subset=["sfid"])
    assert study.trained == ()
    assert set(published["steps"]) == {study.training.steps}
    assert sorted(published["cfg_scale"]) == sorted(study.sampling.guidance_scales)
    header = (CONFIGS / "dit-xl2-released.yaml").read_text()
    for row in published.itertuples():
        numbers = (row.fid50k, row.sfid, row.inception_score, row.precision, row.recall)
        assert all(f"{number:.2f}" in header for number in numbers)
