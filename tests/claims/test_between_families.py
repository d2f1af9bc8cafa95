"""Claims between families on simulated truth: gaps that stay, close, turn, or cannot be told."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from dit_scaling.claims import Claim, evaluate_claims, read_metrics_table
from dit_scaling.cli import app
from dit_scaling.common.errors import UserError
from dit_scaling.config import parse_study
from pipeline import ROOT
from report_study import CONFIG

GFLOPS = {"Nano": 0.5, "Micro": 2.0, "Mini": 8.0, "Large": 32.0}
Gap = Callable[[float], float]


def table(gap: Gap, seeds: int = 4, sd: float = 0.02, sizes: tuple[str, ...] = tuple(GFLOPS)) -> pd.DataFrame:
    """Two families whose ln metrics fall with Gflops and differ by ``gap`` of ln Gflops; noise from one seed."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "variant": f"{family}-{size}/2",
            "size": size,
            "patch": 2,
            "params_m": GFLOPS[size],
            "gflops": GFLOPS[size],
            "seed": seed,
            "sampler": sampler,
            "fd_x8": np.exp(3 - 0.3 * np.log(GFLOPS[size]) + own(np.log(GFLOPS[size])) + rng.normal(0, sd)),
        }
        for family, sampler, own in (("DiT", "ddpm", lambda _: 0.0), ("DiT@flow", "heun", gap))
        for size in sizes
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def judged(data: pd.DataFrame) -> Claim:
    return evaluate_claims(data, "fd_x8", families=[("DiT@flow", "DiT")])["DiT@flow over DiT"]


@pytest.mark.parametrize(
    ("gap", "verdict", "words"),
    [
        (lambda _: -0.3, "supported", "keeps half its size as models grow: supported"),
        (lambda x: -0.3 - 0.05 * x, "supported", "keeps half its size as models grow: supported"),
        (lambda x: -0.3 + 0.085 * x, "contradicted", "keeps half its size as models grow: contradicted"),
        (lambda _: 0.3, "contradicted", "beyond noise the wrong way"),
        (lambda _: 0.0, "inconclusive", "lower at equal Gflops (within a factor of 1.25): inconclusive"),
    ],
    ids=["a gap that stays", "one that grows", "one that closes", "the other way", "none"],
)
def test_the_truth_is_found(gap: Gap, verdict: str, words: str) -> None:
    claim = judged(table(gap))
    assert claim.verdict == verdict
    assert words in claim.reason
    assert len(claim.halves) == 2


def test_one_size_tells_nothing_of_growth() -> None:
    claim = judged(table(lambda _: -0.3, sizes=("Micro",)))
    assert claim.verdict == "supported in part"
    assert claim.qualification == (
        "lower at equal Gflops (within a factor of 1.25); not tested: the gap keeps half its size as models grow"
    )


def test_families_without_a_pair_are_not_testable() -> None:
    report = evaluate_claims(table(lambda _: -0.3), "fd_x8", families=[("UNet", "DiT")])
    assert report["UNet over DiT"].verdict == "not testable"
    assert report["0"].verdict == "not testable"


def test_the_gap_is_the_line_of_scipy() -> None:
    data = table(lambda x: -0.3 + 0.02 * x)
    means = data.assign(ln=np.log(data["fd_x8"])).groupby("variant")["ln"].mean()
    x = np.log(list(GFLOPS.values()))
    gaps = [means[f"DiT@flow-{size}/2"] - means[f"DiT-{size}/2"] for size in GFLOPS]
    line = stats.linregress(x, gaps)
    first, last = (100 * np.expm1(line.intercept + line.slope * place) for place in (x[0], x[-1]))
    assert f"from {first:+.1f}% at 0.5 Gflops to {last:+.1f}% at 32, p" in judged(data).reason


def test_claims_1_to_3_are_judged_on_dit_alone() -> None:
    """The other family changes none of them, and its own sampler is no mix of protocols."""
    data = table(lambda _: -0.3)
    with_flow, without = evaluate_claims(data, "fd_x8"), evaluate_claims(data[data["sampler"] == "ddpm"], "fd_x8")
    for number in ("1", "2", "3"):
        assert with_flow[number].verdict == without[number].verdict
    data.loc[data.index[0], "sampler"] = "ddim"
    with pytest.raises(UserError, match="mixes protocols: sampler"):
        evaluate_claims(data, "fd_x8")


def test_without_dit_claims_1_to_3_are_judged_on_the_family_that_is_to_be_beaten() -> None:
    data = table(lambda _: -0.3)
    data["variant"] = data["variant"].str.replace("DiT", "a.b:Net")
    with pytest.raises(UserError, match="mixes families"):
        evaluate_claims(data, "fd_x8")
    report = evaluate_claims(data, "fd_x8", families=[("a.b:Net@flow", "a.b:Net")])
    assert report["a.b:Net@flow over a.b:Net"].verdict == "supported"
    assert "a.b:Net@flow" not in str(report["1"].comparisons)
    assert report["1"].verdict == "supported"
    assert {e.variant.partition("-")[0] for e in report.exclusions} == {"a.b:Net@flow"}


def test_families_without_dit_and_without_a_claim_are_refused_in_the_config() -> None:
    sizes = {"examples.modern:Modern": {"Nano": {"depth": 2, "hidden_size": 32, "num_heads": 2}}}
    names = [f"examples.modern:Modern{at}-Nano/2" for at in ("", "@flow")]
    sampling = CONFIG["sampling"] | {"samplers": {"flow": "euler"}}
    study = CONFIG | {"class_sizes": sizes, "variants": names, "sampling": sampling}
    with pytest.raises(UserError, match=r"none is DiT.*say under claims\.families"):
        parse_study(study)
    claim = {"better": "examples.modern:Modern@flow", "than": "examples.modern:Modern"}
    parse_study(study | {"claims": {"families": [claim]}})


def test_the_command_takes_claims_between_families(tmp_path: Path) -> None:
    table(lambda _: -0.3).to_csv(tmp_path / "metrics.csv", index=False)
    command = ["claims", str(tmp_path / "metrics.csv"), "--families"]
    told = CliRunner().invoke(app, [*command, "DiT@flow over DiT"])
    assert "Claim DiT@flow over DiT (families at equal Gflops): supported. DiT@flow had a" in told.output


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ("DiT@flow > DiT", 'name each claim like "DiT@flow over DiT"'),
        ("DiT@flow over DiT over UNet", 'name each claim like "DiT@flow over DiT"'),
        (" over DiT", r"no variant is of family \(none\); there are DiT, DiT@flow"),
        ("dit@flow over DiT", "no variant is of family dit@flow; there are DiT, DiT@flow. Did you mean 'DiT@flow'"),
        ("DiT over UNet", "no variant is of family UNet; there are DiT, DiT@flow"),
        ("DiT over DiT", "a family is not better than itself"),
    ],
)
def test_claims_that_the_table_cannot_tell_of_are_refused_before_anything_is_printed(
    tmp_path: Path, claim: str, message: str
) -> None:
    table(lambda _: -0.3).to_csv(tmp_path / "metrics.csv", index=False)
    wrong = CliRunner().invoke(app, ["claims", str(tmp_path / "metrics.csv"), "--families", claim])
    with pytest.raises(UserError, match=message):
        raise wrong.exception or AssertionError(wrong.output)
    assert wrong.output == ""


def test_a_family_that_is_not_run_is_refused_in_the_config() -> None:
    with pytest.raises(UserError, match=r"claims\.families\.0: no variant is of family DiT@flow; there are DiT"):
        parse_study(CONFIG | {"claims": {"families": [{"better": "DiT@flow", "than": "DiT"}]}})


def test_the_page_has_the_verdicts_that_the_study_of_families_gets() -> None:
    folder = ROOT / "docs" / "embedded-families"
    said = pd.read_csv(folder / "claims.csv").set_index("claim")["verdict"]
    pairs = [tuple(claim.split(" over ")) for claim in said.index if " over " in claim]
    report = evaluate_claims(read_metrics_table(folder / "metrics.csv"), "fd_classifier64", families=pairs)
    assert {claim.claim: claim.verdict for claim in report.claims} == said.to_dict()
    page = (ROOT / "docs" / "families.md").read_text()
    for better, than in pairs:
        name = f"{better} over {than}".replace("examples.modern:", "").replace("UNet", "U-Net")
        assert f"| {name} | {said[f'{better} over {than}']}" in page


def test_a_family_is_not_compared_with_itself() -> None:
    with pytest.raises(UserError, match=r"claims\.families\.0: better and than are both DiT; name two families"):
        parse_study(CONFIG | {"claims": {"families": [{"better": "DiT", "than": "DiT"}]}})
