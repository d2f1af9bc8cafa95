"""The harness of benchmarks/: alternation, comparison before timing, regression, table; and small rows."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.harness import Measured, Round, alternate, mean_seconds, measure
from benchmarks.hotspots import NO_OPERATOR, OTHER, kind_of, profile
from benchmarks.registry import TOPICS, choose, find
from benchmarks.report import failures, read_baseline, table, write_baseline
from benchmarks.row import (
    DisagreementError,
    Outcome,
    Row,
    Setting,
    Side,
    UnavailableError,
    at_least,
    at_most_more,
    at_most_seconds,
    equal_within,
)
from benchmarks.study import read_jobs, waits, work
from benchmarks.worker import Which, apart

from dit_scaling.common.allocator import KEPT_MEMORY

MACHINE = {"cpu": "some", "family": "6", "model": "1", "cores": 2}
OTHER_MACHINE = MACHINE | {"model": "2"}
NEW_MACHINE = MACHINE | {"cores": 4}


def side(seconds: Callable[[], float], outcome: Outcome | None = None) -> Side:
    return Side(seconds, lambda: outcome or {"value": 1.0})


def row(ours: Side, peer: Side, target: float = 1.0) -> Row:
    return Row(
        name="row",
        what="ours",
        peer="the peer",
        make_ours=lambda _setting: ours,
        make_peer=lambda _setting: peer,
        agree=equal_within(1e-3),
        target=at_least(target),
    )


def result(ratio: float, spread: float = 0.1, **more: Any) -> dict[str, Any]:
    names = {"name": "row", "what": "ours", "peer": "the peer", "threads": 2}
    rounds = [{"ours": 0.5, "peer": 0.5 * ratio}]
    return {**names, "ratio": ratio, "spread": spread, "target": 2.0, "met": ratio >= 2, "rounds": rounds, **more}


def test_sides_take_turns_at_going_first() -> None:
    order: list[str] = []
    ours = side(lambda: order.append("ours") or 1.0)
    peer = side(lambda: order.append("peer") or 3.0)
    rounds = alternate(ours, peer, rounds=4, least_seconds=0.0)
    assert order == ["ours", "peer", "peer", "ours"] * 2
    assert [one.ratio for one in rounds] == [3.0] * 4


def test_a_round_runs_a_side_until_it_has_taken_long_enough() -> None:
    runs: list[float] = []
    assert mean_seconds(side(lambda: runs.append(0.25) or 0.25), least_seconds=0.6) == 0.25
    assert len(runs) == 3


def test_median_and_spread_are_those_of_the_ratios_of_rounds() -> None:
    rounds = tuple(Round(ours=1.0, peer=ratio) for ratio in (1.0, 5.0, 2.0, 3.0, 2.5))
    measured = Measured(rounds, "equal", target=2.6)
    assert (measured.ratio, measured.spread, measured.met) == (2.5, 4.0, False)


def test_results_that_differ_are_never_timed() -> None:
    runs: list[str] = []
    ours = side(lambda: runs.append("ours") or 1.0, {"value": [1.0, 2.0]})
    peer = side(lambda: runs.append("peer") or 1.0, {"value": [1.0, 2.1]})
    with pytest.raises(DisagreementError, match=r"value: differs by 0\.1"):
        measure(row(ours, peer), ours, peer, rounds=5, least_seconds=0.0)
    assert runs == ["ours", "peer"]


@pytest.mark.parametrize(
    ("ours", "peer"),
    [({"a": 1.0}, {"b": 1.0}), ({"a": [1.0]}, {"a": 1.0}), ({"a": float("nan")}, {"a": 1.0})],
    ids=["names", "shapes", "nan"],
)
def test_outcomes_disagree_by_name_shape_and_nan(ours: Outcome, peer: Outcome) -> None:
    with pytest.raises(DisagreementError):
        equal_within(0.5)(ours, peer)


def test_targets_in_seconds_become_ratios() -> None:
    assert at_most_more(0.5)(2.0) == pytest.approx(2.0 / 2.5)
    assert at_most_seconds(0.5)(0.02) == pytest.approx(0.04)


@pytest.mark.parametrize(("ratio", "fails"), [(2.31, False), (2.29, True), (4.0, False)])
def test_a_ratio_fails_below_its_baseline_by_more_than_the_spread(ratio: float, fails: bool, tmp_path: Path) -> None:
    stored = tmp_path / "baseline.json"
    write_baseline([result(2.5, spread=0.2)], MACHINE, stored)
    found = failures([result(ratio, spread=9.0)], read_baseline(MACHINE, stored))
    assert bool(found) is fails
    assert all("row: ratio 2.29 is below its baseline of 2.5" in line for line in found)


def test_a_disagreement_fails_and_an_unavailable_row_does_not(tmp_path: Path) -> None:
    names = {"name": "row", "what": "ours", "peer": "the peer", "threads": 2}
    results = [names | {"disagreement": "value differs"}, names | {"unavailable": "no study here"}]
    assert read_baseline(MACHINE, tmp_path / "missing.json") is None
    assert failures(results, None) == ["row: ours and peer disagree: value differs"]
    assert "unavailable: no study here" in table(results)


def test_rows_that_were_not_measured_keep_their_baseline(tmp_path: Path) -> None:
    stored = tmp_path / "baseline.json"
    write_baseline([result(2.5), result(7.0) | {"name": "other"}], MACHINE, stored)
    write_baseline([result(3.0)], MACHINE, stored)
    baseline = read_baseline(MACHINE, stored)
    assert baseline is not None
    assert (baseline.rows["row"]["ratio"], baseline.rows["other"]["ratio"]) == (3.0, 7.0)


@pytest.mark.parametrize(
    ("machine", "ratio", "fails"),
    [(MACHINE, 2.3, True), (OTHER_MACHINE, 2.3, False), (NEW_MACHINE, 2.3, False), (NEW_MACHINE, 1.7, True)],
)
def test_a_machine_is_compared_with_its_own_baseline_and_a_new_one_with_the_lowest(
    machine: dict[str, Any], ratio: float, fails: bool, tmp_path: Path
) -> None:
    stored = tmp_path / "baseline.json"
    write_baseline([result(2.0, spread=0.2)], OTHER_MACHINE, stored)
    write_baseline([result(2.5)], MACHINE, stored)
    found = failures([result(ratio)], read_baseline(machine, stored))
    assert bool(found) is fails
    assert all(("this machine has no baseline yet" in line) is (machine is NEW_MACHINE) for line in found)


def test_the_table_says_what_was_missed_and_how_much_memory_it_took() -> None:
    memory = {"ours": 2**20, "peer": 3 * 2**20}
    lines = table([result(1.5, memory=memory), result(2.5, memory=memory)]).splitlines()
    assert lines[2] == ("| row | ours beside the peer | 2 | 1.5 | 0.1 | 2 (missed) | 500 ms | 750 ms | 1 MiB / 3 MiB |")
    assert "missed" not in lines[3]
    assert len({line.count("|") for line in lines}) == 1


def test_rows_have_names_of_their_own_topic_and_are_found_by_them() -> None:
    rows = choose()
    assert len({row.name for row in rows}) == len(rows)
    assert {row.name.partition("-")[0] for row in rows} == set(TOPICS)
    assert all(find(row.name).what == row.what for row in rows)
    assert [row.name for row in choose("frechet")] == ["frechet-clean-fid", "frechet-torch-fidelity"]


@pytest.mark.parametrize(
    "name",
    [
        "parquet-images",
        "reader-shuffled",
        "frechet-clean-fid",
        "frechet-torch-fidelity",
        "ema-DiT-XL-2",
        "features-classifier",
    ],
)
def test_small_rows_agree_with_their_peers(name: str, tmp_path: Path) -> None:
    found = find(name)
    sides = []
    for make in (found.make_ours, found.make_peer):
        folder = tmp_path / str(len(sides))
        folder.mkdir()
        sides.append(make(Setting(quick=True, folder=folder)))
    measured = measure(found, *sides, rounds=1, least_seconds=0.0)
    assert measured.ratio > 0


@pytest.mark.parametrize(
    ("name", "keeps"),
    [
        pytest.param("frechet-torch-fidelity", {"ours"}, marks=pytest.mark.slow),
        ("startup-data", {"ours", "peer"}),  # the peer is a yardstick
        pytest.param("pair-embedded-smallest", {"ours"}, marks=pytest.mark.slow),
    ],
)
def test_sides_in_processes_of_their_own(name: str, keeps: set[Which], monkeypatch: pytest.MonkeyPatch) -> None:
    """They agree and end, memory of their processes counts, and only our side and yardsticks keep freed memory."""
    for variable in KEPT_MEMORY:  # which a Snakefile that a test has read in this process leaves behind
        monkeypatch.delenv(variable, raising=False)
    found = find(name)
    with apart(found, "ours", quick=True) as ours:
        (process,) = multiprocessing.active_children()
        with apart(found, "peer", quick=True) as peer:
            measured = measure(found, ours.side, peer.side, rounds=1, least_seconds=0.0)
            memory = [one.peak_memory() for one in (ours, peer)]
            variables = {
                "ours" if child == process else "peer": _environment(child.pid)
                for child in multiprocessing.active_children()
            }
    assert measured.ratio > 0
    assert min(memory) > 0
    if name.startswith("pair"):
        assert memory[0] > memory[1] + 2**29, "the memory of both trainings counts"
    assert not multiprocessing.active_children()
    for which, names in variables.items():
        assert f"OMP_NUM_THREADS={found.threads}" in names
        kept = {f"{key}={value}" for key, value in KEPT_MEMORY.items()} & names
        assert len(kept) == (len(KEPT_MEMORY) if which in keeps else 0)


def _environment(process: int | None) -> set[str]:
    path = Path(f"/proc/{process}/environ")
    if not path.exists():
        pytest.skip("the kernel shows no environments")
    return set(path.read_text().split("\0"))


def test_what_a_side_raises_in_its_process_is_raised_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        apart(find("study-snakemake"), "ours", quick=True) as ours,
        pytest.raises(UnavailableError, match="not finished"),
    ):
        ours.side.seconds()


def test_jobs_of_a_study_wait_from_the_last_end_before_their_begin(tmp_path: Path) -> None:
    (tmp_path / "times" / "train").mkdir(parents=True)
    for name, seconds, end in (("vae", 10.0, 110.0), ("train/a", 20.0, 131.0), ("train/b", 30.0, 143.0)):
        path = tmp_path / "times" / f"{name}.tsv"
        path.write_text(f"s\tmax_rss\n{seconds}\t100\n")
        os.utime(path, (end, end))
    with pytest.raises(UnavailableError, match="not finished"):
        read_jobs(tmp_path)
    (tmp_path / "report.html").touch()
    jobs = read_jobs(tmp_path)
    assert work(jobs) == pytest.approx(60.0)
    assert waits(jobs) == pytest.approx(1.0 + 3.0)  # from 110 to 111 and to 113


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::mkldnn_convolution", "convolutions"),
        ("aten::native_group_norm", "group norm"),
        ("aten::gelu_backward", "GELU"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("aten::native_layer_norm_backward", "layer norm"),
        ("aten::_fused_adamw_", "AdamW, clipping, EMA"),
        ("aten::addcmul", OTHER),
        ("autograd::engine::evaluate_function: AddmmBackward0", NO_OPERATOR),
    ],
)
def test_operators_have_a_kind(operator: str, kind: str) -> None:
    assert kind_of(operator) == kind


def test_a_profile_names_what_takes_the_time() -> None:
    a = torch.ones(300, 300)
    taken = profile(lambda: a @ a, number=20)
    assert next(iter(taken)) == "matrix products"
    assert sum(taken.values()) == pytest.approx(1)
