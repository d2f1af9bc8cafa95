"""The studies of the folder config: each is valid, says what it costs and reaches, and plans the jobs it should."""

from pathlib import Path

import pytest
import yaml

from dit_scaling.config import load_study
from dit_scaling.protocol.published import xl2_long
from pipeline import ROOT, Plan, plan

CONFIGS = ROOT / "config"


def plan_with_images(folder: Path, name: str, classes: int) -> Plan:
    """What a study plans on a folder with one empty image per class in the place of its own images."""
    for label in range(classes):
        (folder / "images" / f"{label:04d}").mkdir(parents=True)
        (folder / "images" / f"{label:04d}" / "0.png").touch()
    override = folder / "override.yaml"
    override.write_text(yaml.safe_dump({"data": {"path": "images"}}))
    return plan(folder, "--configfile", str(CONFIGS / name), str(override), config=None)


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        (
            "imagenet256.yaml",
            1000,
            {"fetch": 4, "encode_shard": 33, "train_milestone": 48, "sample_part": 384, "score": 48},
        ),
        (
            "imagenet256-claims.yaml",
            1000,
            {"fetch": 4, "encode_shard": 33, "train_milestone": 4, "sample_part": 32, "score": 4},
        ),
        (
            "imagenet256-52k.yaml",
            1000,
            {"fetch": 4, "encode_shard": 33, "train_milestone": 4, "sample_part": 64, "score": 8},
        ),
        ("dit-xl2-released.yaml", 1000, {"fetch": 5, "sample_part": 48, "score": 3}),
        ("cifar10.yaml", 10, {"encode_shard": 5, "train_milestone": 8, "sample_part": 16, "score": 8}),
    ],
)
def test_study_plans_its_jobs(tmp_path: Path, name: str, classes: int, expected: dict[str, int]) -> None:
    jobs = plan_with_images(tmp_path, name, classes)
    workers = {"fetch", "encode_shard", "train_milestone", "sample_part", "score"}
    assert {rule: len(files) for rule, files in jobs.items() if rule in workers} == expected
    assert {rule: len(jobs[rule]) for rule in ("data", "vae", "reference", "aggregate", "report")} == dict.fromkeys(
        ("data", "vae", "reference", "aggregate", "report"), 1
    )


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_says_its_command_its_cost_and_what_it_reaches(path: Path) -> None:
    header = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
    assert "#   command " in header
    if path.name != "config.yaml":
        assert path.name in header
        assert "#   cost" in header
        assert "#   reaches " in header or "#   shows " in header


def test_the_whole_study_is_the_papers() -> None:
    study = load_study(CONFIGS / "imagenet256.yaml")
    assert set(study.variants) == {f"DiT-{size}/{patch}" for size in ("S", "B", "L", "XL") for patch in (2, 4, 8)}
    assert study.training.exports == (50_000, 100_000, 200_000, 400_000)
    assert study.latent_size == 32
    assert study.sampling.guidance_scales == (1.0,)


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
