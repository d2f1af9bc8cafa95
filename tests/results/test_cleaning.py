"""What cleaning names and deletes, and what it never touches."""

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest

from dit_scaling.cli import main
from dit_scaling.config import load_study
from dit_scaling.config.recipe import Recipe
from dit_scaling.config.stages import TrainSettings
from dit_scaling.config.study import Study
from dit_scaling.data.assets import open_stages
from dit_scaling.metrics.catalogue import metric_keys
from dit_scaling.results.cleaning import cleanable, delete
from dit_scaling.results.job_records import recorded
from dit_scaling.results.run_control import RUNNER, note_runner
from dit_scaling.variants import Variant
from pipeline import TINY, edited

SETTINGS = TrainSettings(
    variant=Variant(size="Nano", patch=2, depth=1, hidden_size=32, num_heads=2),
    seed=0,
    input_size=8,
    in_channels=2,
    num_classes=10,
    recipe=Recipe(),
    latents="0",
)
OTHERS = SETTINGS.model_copy(update={"seed": 7})
NEWEST = "state-000000020.safetensors"


def study(folder: Path, **keep: Any) -> Study:
    return load_study(edited(folder, {f"keep.{key}": value for key, value in keep.items()}))


def write(path: Path, size: int = 1000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path


def run_folder(results: Path, name: str, settings: TrainSettings) -> Path:
    """A state folder with two states and weights of steps 10 and 20."""
    folder = results / "states" / name
    write(folder / "settings.json").write_text(json.dumps({"settings": settings.stored(), "latents": "0"}))
    for step in (10, 20):
        write(folder / f"state-{step:09d}.safetensors")
        write(folder / f"state-{step:09d}.json", 10)
        for kind in ("raw", "ema"):
            write(folder / f"step-{step}" / f"{kind}.safetensors")
    return folder


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of DiT-Nano/2, its weights published as links and scored, and an unfinished run."""
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results" / "tiny"
    finished = run_folder(results, "finished", SETTINGS)
    run_folder(results, "unfinished", OTHERS)  # nor one of today's settings
    for step in (10, 20):
        published = results / "DiT-Nano-2" / "seed-0" / f"step-{step}"
        shutil.copytree(finished / f"step-{step}", published, copy_function=os.link)
        (published / "provenance.json").write_text(json.dumps({"settings": SETTINGS.stored()}))
    make_records(results, load_study(TINY))
    return results


def make_records(results: Path, study: Study) -> None:
    """What is made from the published weights of the finished run and from its samples, with a study's settings."""
    stages, run = open_stages(study, results), results / "DiT-Nano-2" / "seed-0"

    def made(result: Path, record: str, digest: str) -> None:
        write(result)
        (result.parent / record).write_text(json.dumps({"settings_digest": digest}))

    made(run / "losses.json", "losses.provenance.json", stages.losses("DiT-Nano-2", 0).digest)
    for step in study.training.exports:
        way, place = ("DiT-Nano-2", 0, step, 1.0), run / f"step-{step}" / "guidance-1.0"
        made(place / "metrics.json", "provenance.json", stages.score(*way, metric_keys()).digest)
    features = stages.features(*way, "classifier").digest
    made(place / "features" / "classifier" / "features.json", "provenance.json", features)
    made(place / "memorisation.json", "memorisation.provenance.json", stages.memorisation(*way).digest)


def named(study: Study, results: Path, other_runs: bool = False) -> set[str]:
    heaps = cleanable(study, results, other_runs)
    return {str(path.relative_to(results)) for heap in heaps for path in heap.files}


def test_nothing_goes_by_default(results: Path, tmp_path: Path) -> None:
    assert cleanable(study(tmp_path), results) == []


def test_states_of_finished_runs_only(results: Path, tmp_path: Path) -> None:
    expected = {f"states/finished/state-0000000{step}.{end}" for step in (10, 20) for end in ("safetensors", "json")}
    assert named(study(tmp_path, states=False), results) == expected


@pytest.mark.parametrize("lost", ["ema.safetensors", "provenance.json"])
def test_a_run_whose_last_step_is_not_published_is_unfinished(results: Path, tmp_path: Path, lost: str) -> None:
    (results / "DiT-Nano-2" / "seed-0" / "step-20" / lost).unlink()
    assert named(study(tmp_path, states=False, checkpoints="last"), results) == set()


def test_a_run_that_is_to_train_longer_is_unfinished(results: Path, tmp_path: Path) -> None:
    config = edited(tmp_path, {"keep.states": False, "training.steps": 30})
    assert named(load_study(config), results) == set()


def test_results_of_other_settings_do_not_finish_a_run(results: Path, tmp_path: Path) -> None:
    record = results / "DiT-Nano-2" / "seed-0" / "step-20" / "provenance.json"
    record.write_text(json.dumps({"settings": SETTINGS.model_copy(update={"seed": 8}).stored()}))
    assert named(study(tmp_path, states=False), results) == set()


def test_records_with_every_default_written_out_are_of_the_same_run(results: Path, tmp_path: Path) -> None:
    record = results / "DiT-Nano-2" / "seed-0" / "step-20" / "provenance.json"
    before = named(study(tmp_path, states=False), results)
    record.write_text(json.dumps({"settings": SETTINGS.model_dump(mode="json")}))
    assert named(study(tmp_path, states=False), results) == before != set()


LAWS = {"budgets": [{"flops": flops, "variants": ["DiT-Nano/2"]} for flops in (1.0e9, 2.0e9)]}


@pytest.fixture
def measured(results: Path, tmp_path: Path) -> Path:
    """A measured run of a study for laws, which publishes its losses alone; gives its config."""
    changes = {"variants": ["DiT-Nano/2"], "laws": LAWS, "keep": {"states": False, "checkpoints": "last"}}
    config = edited(tmp_path, changes)
    shutil.rmtree(results / "DiT-Nano-2")
    losses = {"training": SETTINGS.digest, "steps": load_study(config).exports("DiT-Nano/2")}
    record = {"settings": {**losses, "images": 20, "draws": 1, "seed": 0}}
    write(results / "DiT-Nano-2" / "seed-0" / "losses.json")
    write(results / "DiT-Nano-2" / "seed-0" / "losses.provenance.json").write_text(json.dumps(record))
    return config


def test_states_of_measured_runs_of_a_study_for_laws_go_and_their_weights_stay(results: Path, measured: Path) -> None:
    expected = {f"states/finished/state-0000000{step}.{end}" for step in (10, 20) for end in ("safetensors", "json")}
    assert named(load_study(measured), results) == expected


@pytest.mark.parametrize("lost", ["losses.json", "losses.provenance.json"])
def test_a_run_for_laws_that_is_not_measured_is_unfinished(results: Path, measured: Path, lost: str) -> None:
    (results / "DiT-Nano-2" / "seed-0" / lost).unlink()
    assert named(load_study(measured), results) == set()


def test_a_run_for_laws_that_has_a_budget_to_spend_is_unfinished(results: Path, measured: Path) -> None:
    more = [*LAWS["budgets"], {"flops": 4.0e9, "variants": ["DiT-Nano/2"]}]
    config = edited(measured.parent, {"laws": {"budgets": more}}, measured)
    assert named(load_study(config), results) == set()


def test_checkpoints_go_with_all_their_links(results: Path, tmp_path: Path) -> None:
    places = ("states/finished", "DiT-Nano-2/seed-0")
    raw = {f"{place}/step-{step}/raw.safetensors" for place in places for step in (10, 20)}
    early = {f"{place}/step-10/ema.safetensors" for place in places}
    assert named(study(tmp_path, checkpoints="ema"), results) == raw
    assert named(study(tmp_path, checkpoints="last"), results) == raw | early
    (heap,) = cleanable(study(tmp_path, checkpoints="last"), results)
    assert heap.size == 3000


def test_weights_stay_until_they_are_scored(results: Path, tmp_path: Path) -> None:
    raw = named(study(tmp_path, checkpoints="ema"), results)
    early = results / "DiT-Nano-2" / "seed-0" / "step-10"
    metrics = early / "guidance-1.0" / "metrics.json"
    at_two_scales = edited(tmp_path, {"keep.checkpoints": "last", "sampling.guidance_scales": [1.0, 4.0]})
    assert named(load_study(at_two_scales), results) == raw
    before = (early / "ema.safetensors").stat().st_mtime - 1
    os.utime(metrics, (before, before))  # of weights that were trained again since
    assert named(study(tmp_path, checkpoints="last"), results) == raw
    metrics.unlink()
    assert named(study(tmp_path, checkpoints="last"), results) == raw
    # A step that is no longer a milestone is not going to be scored.
    unscored = named(load_study(edited(tmp_path, {"keep.checkpoints": "last", "training.milestones": []})), results)
    assert str((early / "ema.safetensors").relative_to(results)) in unscored


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"sampling.num_samples": 120}, {"ema.safetensors", "part-00000.npz"}),
        ({"metrics.loss_draws": 2}, {"ema.safetensors", "raw.safetensors"}),
        ({"metrics.extractor.steps": 30}, {"ema.safetensors", "part-00000.npz"}),
    ],
    ids=["num_samples", "loss_draws", "extractor"],
)
def test_what_changed_settings_read_once_more_stays(
    results: Path, tmp_path: Path, changes: dict[str, Any], kept: set[str]
) -> None:
    part = write(results / "DiT-Nano-2" / "seed-0" / "step-20" / "guidance-1.0" / "samples" / "part-00000.npz")
    make_records(results, load_study(TINY))
    drop = {"keep.checkpoints": "last", "sampling.keep_samples": False}
    before = named(load_study(edited(tmp_path, drop)), results)
    assert str(part.relative_to(results)) in before
    left = before - named(load_study(edited(tmp_path, drop | changes)), results)
    assert {Path(name).name for name in left} == kept


def test_weights_stay_until_their_loss_is_measured(results: Path, tmp_path: Path) -> None:
    (results / "DiT-Nano-2" / "seed-0" / "losses.json").unlink()
    assert named(study(tmp_path, checkpoints="last"), results) == set()


def test_weights_stay_until_their_gate_has_judged_them(results: Path, tmp_path: Path) -> None:
    def unwanted(checkpoints: str) -> set[str]:
        changes = {"keep.checkpoints": checkpoints, "training.gates": "warn", "training.milestones": []}
        return named(load_study(edited(tmp_path, changes | {"training.gate_steps": [10]})), results)

    def judge(step: int) -> None:
        stages = open_stages(load_study(tmp_path / "edited.yaml"), results)
        gate = {"settings_digest": stages.gate("DiT-Nano-2", 0, step).digest}
        (results / "DiT-Nano-2" / "seed-0" / f"step-{step}" / "gate.json").write_text(json.dumps(gate))

    assert unwanted("ema") == unwanted("last") == set()
    make_records(results, load_study(tmp_path / "edited.yaml"))  # the losses of a run know its exports
    assert unwanted("ema") == unwanted("last") == set()
    judge(10)
    early = {f"{place}/step-10/raw.safetensors" for place in ("states/finished", "DiT-Nano-2/seed-0")}
    assert unwanted("ema") == early
    assert unwanted("last") == early | {name.replace("raw", "ema") for name in early}
    judge(20)
    assert unwanted("ema") == early | {name.replace("step-10", "step-20") for name in early}


def test_samples_go_once_features_and_memorisation_are_there_where_they_are_not_to_be_kept(
    results: Path, tmp_path: Path
) -> None:
    step = results / "DiT-Nano-2" / "seed-0" / "step-20"
    parts = [write(step / "guidance-1.0" / "samples" / f"part-0000{number}.npz") for number in range(2)]
    write(parts[0].with_name("first-00000.npz"))
    dropping = load_study(edited(tmp_path, {"sampling.keep_samples": False, "sampling.parts": 2}))
    assert named(dropping, results) == set()  # made in one part
    make_records(results, dropping)
    (step / "guidance-1.0" / "memorisation.json").unlink()
    assert named(dropping, results) == set()  # not yet searched for copies
    write(step / "guidance-1.0" / "memorisation.json")
    expected = {str(path.relative_to(results)) for path in parts}
    assert named(dropping, results) == expected
    assert named(study(tmp_path), results) == set()
    later = (step / "guidance-1.0" / "memorisation.json").stat().st_mtime + 1
    os.utime(parts[1], (later, later))  # drawn again, and not yet seen by the extractor
    assert named(dropping, results) == expected - {str(parts[1].relative_to(results))}


def test_other_runs_go_when_asked_for_and_not_while_they_train(results: Path, tmp_path: Path) -> None:
    other = named(study(tmp_path), results, other_runs=True)
    assert {Path(name).parts[1] for name in other} == {"unfinished"}
    assert f"states/unfinished/{NEWEST}" in other
    assert "states/unfinished/settings.json" in other
    me = {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}
    (results / "states" / "unfinished" / "lock.json").write_text(json.dumps(me))
    assert named(study(tmp_path), results, other_runs=True) == set()


def test_a_paused_run_of_the_study_is_no_other_run(results: Path, tmp_path: Path) -> None:
    config = study(tmp_path)
    today = open_stages(config, results).train("DiT-Nano-2", 0)
    run_folder(results, "paused", today)
    longer = load_study(edited(tmp_path, {"training.steps": 30}))
    for chosen in (config, longer):  # what it trains towards does not change a run
        folders = {Path(name).parts[1] for name in named(chosen, results, other_runs=True)}
        assert "unfinished" in folders
        assert "paused" not in folders
    faster = load_study(edited(tmp_path, {"training.learning_rate": 0.5}))
    assert "paused" in {Path(name).parts[1] for name in named(faster, results, other_runs=True)}


def test_deleting_leaves_no_empty_folders_and_everything_else(results: Path, tmp_path: Path) -> None:
    chosen = study(tmp_path, states=False, checkpoints="last")
    before = {path for path in results.rglob("*") if path.is_file()}
    heaps = cleanable(chosen, results)
    delete(heaps)
    assert {path for path in results.rglob("*") if path.is_file()} == before - {p for heap in heaps for p in heap.files}
    assert cleanable(chosen, results) == []
    assert not (results / "states" / "finished" / "step-10").exists()
    assert (results / "states" / "unfinished" / NEWEST).exists()


def test_halves_of_killed_jobs_go_once_nothing_runs(results: Path, tmp_path: Path) -> None:
    halves = {f"{place}/.tmp-0123-file" for place in ("data", "DiT-Nano-2/seed-0/step-20", "vae/.tmp-4567-autoencoder")}
    for path in halves:
        write(results / path)
    with recorded(results, "vae", {}, results / "vae/vae.json", results / "logs/vae.log"):
        assert not named(study(tmp_path), results) & halves
    note_runner(results)
    assert not named(study(tmp_path), results) & halves
    (results / RUNNER).unlink()
    assert named(study(tmp_path), results) == halves
    delete(cleanable(study(tmp_path), results))
    assert list(results.rglob(".tmp-*")) == []
    assert (results / "DiT-Nano-2/seed-0/step-20/ema.safetensors").exists()


def clean(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["dit-scaling", "clean", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0


def test_the_command_shows_first_and_deletes_with_yes(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(edited(tmp_path, {"keep": {"states": False}}))
    clean(monkeypatch, "--configfile", config)
    shown = capsys.readouterr().out
    assert "0.0 MB in 4 files: states of finished runs" in shown
    assert NEWEST in shown
    assert "add --yes" in shown
    assert (results / "states" / "finished" / NEWEST).exists()
    clean(monkeypatch, "--configfile", config, "--yes")
    assert "Deleted." in capsys.readouterr().out
    assert not (results / "states" / "finished" / NEWEST).exists()
    clean(monkeypatch, "--configfile", config)
    assert "Nothing to delete" in capsys.readouterr().out


def test_keep_is_no_part_of_any_stage(tmp_path: Path) -> None:
    from dit_scaling.config import Stages

    kept, other = (Stages(load_study(path), "") for path in (TINY, edited(tmp_path, {"keep.states": False})))
    assert kept.aggregate() == other.aggregate()
    assert kept.report() == other.report()
