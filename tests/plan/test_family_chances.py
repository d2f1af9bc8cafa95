"""Claims between families before a run: against scipy's Welch test, published FIDs, and what is not known."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.config import load_study
from dit_scaling.config.claims_settings import Claims, FamilyClaim
from dit_scaling.config.study import Study
from dit_scaling.plan.effects import expected_of
from dit_scaling.plan.family_chances import (
    LOWER,
    Question,
    apart,
    describe_family_chances,
    published_logs,
    questions_of,
    shares_of,
)

CONFIG = Path(__file__).parents[2] / "config"
IMAGES = 1_281_167
FLOW = Question("DiT@flow over DiT", "DiT@flow", "DiT")
CLAIM = FamilyClaim(better="DiT@flow", than="DiT")


def study_of(name: str, seeds: int, *variants: str, claims: tuple[FamilyClaim, ...] = (CLAIM,)) -> Study:
    study = load_study(CONFIG / f"{name}.yaml")
    changes: dict[str, Any] = {
        "training": study.training.model_copy(update={"seeds": tuple(range(seeds))}),
        "claims": Claims(families=claims),
        "variants": variants,
    }
    return study.model_copy(update=changes)


def test_the_chance_of_one_pair_is_that_of_scipys_welch_test() -> None:
    study = study_of("embedded-families", 4, "DiT-Nano/2", "DiT@flow-Nano/2")
    expected = expected_of(study, 5000)
    logs = apart(study, expected, FLOW, 20)
    assert logs["DiT@flow-Nano/2"] - logs["DiT-Nano/2"] == pytest.approx(math.log(0.8))
    found = shares_of(study, expected, FLOW, logs)
    sd = expected.noise(study.sampling.num_samples)
    draws = sd * np.random.default_rng(1).normal(size=(2, 20_000, 4)) + np.array([math.log(0.8), 0])[:, None, None]
    p = stats.ttest_ind(draws[0], draws[1], axis=1, equal_var=False, alternative="less").pvalue
    share = float(np.mean(p < 0.025))
    assert 0.2 < share < 0.95
    assert found[LOWER] == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 200))
    assert found["supported in part"] == found[LOWER]  # of one size nothing is known of growth


def test_what_is_not_known_is_said_with_the_smallest_gap_that_would_be_found() -> None:
    study = study_of("embedded-families", 3, "DiT-Nano/2", "DiT@flow-Nano/2", "DiT-Mini/2", "DiT@flow-Mini/2")
    (line,) = describe_family_chances(study, 5000)
    start, smallest = line.split(" With 3 seeds a distance lower by ")
    assert start == (
        "Claim DiT@flow over DiT: not known in advance, as no published curve says how far DiT@flow and DiT lie apart "
        "here."
    )
    gap = int(smallest.partition("%")[0])
    expected = expected_of(study, 5000)
    for percent, reached in ((gap - 1, False), (gap, True)):
        shares = shares_of(study, expected, FLOW, apart(study, expected, FLOW, percent))
        assert (shares[LOWER] >= 0.9) == reached
    assert "would be found with a chance of 90%, and that the gap keeps half its size too from " in smallest
    one = describe_family_chances(study_of("embedded-families", 1, "DiT-Nano/2", "DiT@flow-Nano/2"), 5000)
    assert one[0].endswith("With one seed it stays inconclusive.")
    apart_in_cost = describe_family_chances(study_of("embedded-families", 2, "DiT-Nano/2", "DiT@flow-Mini/2"), 5000)
    assert apart_in_cost == ["Claim DiT@flow over DiT: not testable with these variants."]


def test_by_the_papers_protocol_the_gap_is_that_of_sit_and_dit() -> None:
    names = ("DiT-S/2", "DiT@flow-S/2", "DiT-B/2", "DiT@flow-B/2")
    study = study_of("imagenet256", 4, *names)
    expected = expected_of(study, IMAGES)
    logs = published_logs(study, expected, FLOW, IMAGES)
    assert logs is not None
    assert {name: round(math.exp(logs[name]), 2) for name in names} == dict(
        zip(names, (68.40, 57.60, 43.47, 33.00), strict=True)
    )
    (line,) = describe_family_chances(study, IMAGES)
    assert line.startswith("Claim DiT@flow over DiT: supported ")
    assert line.endswith("with the gaps of SiT and DiT as published at 400,000 steps.")
    early = study_of("imagenet256-52k", 4, *names)
    assert published_logs(early, expected, FLOW, IMAGES) is None
    assert published_logs(study, expected, Question("0", "DiT", "UNet"), IMAGES) is None


def test_claim_0_is_asked_where_there_are_unets() -> None:
    both = study_of("embedded-families", 3, "DiT-Nano/2", "UNet-Nano", claims=())
    assert questions_of(both) == [Question("0", "DiT", "UNet")]
    (line,) = describe_family_chances(both, 5000)
    assert line.startswith("Claim 0: not known in advance, as no published curve says how far DiT and UNet lie apart")
    assert "keeps half" not in line
    assert describe_family_chances(study_of("config", 2, "DiT-Nano/2", "DiT-Mini/2", claims=()), 5000) == []


def test_as_json_a_chance_has_the_numbers_of_its_sentence(tmp_path: Path) -> None:
    overlay = tmp_path / "few.yaml"
    overlay.write_text(
        "variants: [DiT-Nano/2, DiT@flow-Nano/2, DiT-Mini/2, DiT@flow-Mini/2]\n"
        "claims: {families: [{better: DiT@flow, than: DiT}]}\n"
    )
    files = [str(CONFIG / "embedded-families.yaml"), str(overlay)]
    told = CliRunner().invoke(app, ["plan", *files, "--device", "h200", "--chances", "--json"])
    (chance,) = json.loads(told.output)["family_chances"]
    (line,) = describe_family_chances(load_study(*map(Path, files)), 5000)
    assert chance["question"] == {"claim": "DiT@flow over DiT", "better": "DiT@flow", "than": "DiT"}
    assert chance["shares"] is None
    assert f"lower by {chance['lower_from']}% would be found" in line
    assert f"too from {chance['whole_from']}%" in line
