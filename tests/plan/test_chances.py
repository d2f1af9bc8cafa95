"""The chance of each verdict: against scipy's Welch test on simulated studies, the confirming run and Table 4."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dit_scaling.config import load_study
from dit_scaling.config.study import Study
from dit_scaling.paper.published import reproduction_spread, table4
from dit_scaling.plan.chances import chances, describe_chances, fewest
from dit_scaling.plan.effects import Table, digits, expected_of, published

ROOT = Path(__file__).parents[2]
IMAGES = 1_281_167


def study_of(name: str = "imagenet256", **changes: Any) -> Study:
    study = load_study(ROOT / "config" / f"{name}.yaml")
    training = study.training.model_copy(update={"seeds": tuple(range(changes.pop("seeds", 1)))})
    return study.model_copy(update={"training": training, **changes})


def test_digits_are_those_of_the_confirming_run() -> None:
    runs = pd.read_csv(ROOT / "docs" / "embedded-confirm-2" / "metrics.csv")
    runs["relative"] = runs["fd_classifier64_se"] / runs["fd_classifier64"]
    for row in digits().rows.itertuples():
        seeds = runs[runs["variant"] == row.variant]
        logs = np.log(seeds["fd_classifier64"])
        assert len(logs) == 4
        assert row.distance == pytest.approx(math.exp(logs.mean()), rel=1e-4)
        assert row.sd == pytest.approx(logs.std(ddof=1), abs=1e-4)
        assert row.sampling_sd == pytest.approx(math.sqrt((seeds["relative"] ** 2).mean()), abs=1e-4)
        assert (row.params_m, row.patch) == (seeds["params_m"].iloc[0], seeds["patch"].iloc[0])
    assert set(digits().rows["variant"]) == set(runs["variant"])


def test_the_law_recovers_itself_and_predicts_each_variant_of_table_4_from_the_others() -> None:
    size, patch = np.array([30.0, 30, 100, 100, 500, 500]), np.array([2.0, 4, 2, 4, 2, 4])
    logs = 6 - 0.5 * np.log(size) - 0.3 * np.log(patch) + 0.2 * np.log(size) * np.log(patch)
    exact = Table(pd.DataFrame({"params_m": size, "patch": patch, "distance": np.exp(logs)}), 0.1, 0.01, 50_000)
    assert exact.law(np.array([200.0]), np.array([8.0]))[0] == pytest.approx(
        6 - 0.5 * math.log(200) - 0.3 * math.log(8) + 0.2 * math.log(200) * math.log(8)
    )
    rows, errors = published().rows, []
    for i in range(len(rows)):
        rest = Table(rows.drop(index=i), 0.1, 0.01, 50_000)
        left_out = rows.loc[[i]]
        predicted = rest.law(left_out["params_m"].to_numpy(float), left_out["patch"].to_numpy(float))
        errors.append(abs(math.expm1(predicted[0] - math.log(left_out["distance"].iloc[0]))))
    assert np.median(errors) < 0.08


def test_where_the_effects_come_from_is_said() -> None:
    assert "confirming run" in expected_of(study_of("config"), 5000).source
    assert expected_of(study_of("shapes"), 5000).source.startswith("assumed: ")
    paper = expected_of(study_of(), IMAGES)
    assert paper.source.startswith("sizes and patches act by the law of Table 4, 100% ")
    assert paper.noise(50_000) == pytest.approx(math.hypot(reproduction_spread().sd, 0.01))
    known = dict(zip(table4()["variant"], table4()["fid50k"], strict=True))
    for model, value in zip(paper.models, paper.ln_distance, strict=True):
        assert value == pytest.approx(math.log(known[model.variant]), abs=0.11)
    early = expected_of(load_study(ROOT / "config" / "imagenet256-52k.yaml"), IMAGES)
    assert np.ptp(early.ln_distance) < np.ptp(paper.ln_distance)


def test_the_chance_of_one_pair_is_that_of_scipys_welch_test() -> None:
    """Two sizes at one patch: beyond noise by Welch's F, which is t squared, and the larger one is better."""
    study, seeds = study_of(variants=("DiT-L/2", "DiT-XL/2"), seeds=6), 6
    expected = expected_of(study, IMAGES)
    first = chances(study, expected, studies=400)[0]
    sd = expected.noise(study.sampling.num_samples)
    logs = expected.ln_distance[:, None, None] + sd * np.random.default_rng(1).normal(size=(2, 20_000, seeds))
    p = stats.ttest_ind(logs[1], logs[0], axis=1, equal_var=False, alternative="less").pvalue
    share = float(np.mean(p < 0.025))
    assert 0.2 < share < 0.95
    assert first.supported == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 400))


def test_one_seed_supports_nothing_and_more_of_them_do() -> None:
    study = study_of(variants=("DiT-S/2", "DiT-B/2", "DiT-B/4", "DiT-S/4"))
    one = chances(study, expected_of(study, IMAGES), studies=60)
    assert [chance.supported for chance in one] == [0, 0, 0]
    assert all(set(chance.verdicts) == {"inconclusive", "would be supported"} for chance in one)
    assert one[0].verdicts["would be supported"] > 0.5
    assert one[0].seeds is not None
    three = study_of(variants=study.variants, seeds=one[0].seeds)
    assert chances(three, expected_of(three, IMAGES), studies=60)[0].supported >= 0.9
    assert one[2].seeds is None


@pytest.mark.parametrize(("threshold", "expected"), [(1, 1), (5, 5), (16, 16), (17, None)])
def test_the_fewest_are_found_by_halving(threshold: int, expected: int | None) -> None:
    asked = []

    def share(count: int) -> float:
        asked.append(count)
        return 0.9 if count >= threshold else 0.89

    assert fewest(range(1, 17), share) == expected
    assert len(asked) <= 5


def test_chances_are_told_a_line_a_claim() -> None:
    lines = describe_chances(study_of("config", variants=("DiT-Nano/2", "DiT-Mini/2", "DiT-Mini/1"), seeds=2), 5000)
    assert "200 simulated studies of 2 seeds and 1,000 samples" in lines[0]
    assert "Distances and scatter as the embedded study's confirming run measured at 10,000 steps." in lines[0]
    assert lines[1].startswith("Claim 1: supported ")
    assert lines[3].endswith("It takes 8 variants.")
    no_patches = describe_chances(study_of("config", variants=("DiT-Nano/2", "DiT-Mini/2")), 5000)
    assert no_patches[-2] == "Claim 2: not testable with these variants."


def test_digits_of_other_steps_than_were_measured_are_an_assumption() -> None:
    study = study_of("config")
    longer = study.model_copy(update={"training": study.training.model_copy(update={"steps": 20_000})})
    assert expected_of(study, 5000).source.startswith("distances and scatter as the embedded study's")
    assert expected_of(longer, 5000).source.startswith("assumed: distances and scatter as the embedded study's")
