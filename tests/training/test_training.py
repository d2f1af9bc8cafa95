"""The training loop: same steps, same weights, however often it is stopped; and what it does on bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dit_scaling.common.errors import UserError
from dit_scaling.common.section import Before
from dit_scaling.config.stages import TrainSettings
from dit_scaling.diffusion.process import PAPER_PROCESS, create_diffusion
from dit_scaling.latents.reader import LatentReader
from dit_scaling.models import create_model
from dit_scaling.models.checkpoints import load_model, read_header
from dit_scaling.training import loop
from dit_scaling.training.batches import BatchSource, seed_for
from dit_scaling.training.launch import TrainJob
from dit_scaling.training.loop import state_folder, train_to
from dit_scaling.training.milestone import MilestoneFiles, train_milestone
from dit_scaling.training.runtime import Interrupted, Runtime, stop_noticed
from dit_scaling.training.state import StateFolder
from dit_scaling.training.step import TrainingStep

CLASSES = 3
SVG = "{http://www.w3.org/2000/svg}"
CPU = Runtime(device=torch.device("cpu"))
TRAIN_FIVE_STEPS = """
import sys
from pathlib import Path
import torch
from dit_scaling.config.stages import TrainSettings
from dit_scaling.common.errors import UserError
from dit_scaling.training.loop import train_to
from dit_scaling.training.runtime import Runtime
settings, manifest, states = sys.argv[1:]
try:
    run = TrainSettings.model_validate_json(settings)
    train_to(run, Path(manifest), 5, Path(states), Runtime(device=torch.device("cpu")))
    print("trained")
except UserError as error:
    print(error)
"""


def weights(settings: TrainSettings, manifest: Path, step: int, states: Path) -> dict[str, dict[str, Tensor]]:
    folder = train_to(settings, manifest, step, states, CPU)
    return {name: load_file(folder.export_path(step, f"{name}.safetensors")) for name in ("raw", "ema")}


def assert_identical(first: dict[str, dict[str, Tensor]], second: dict[str, dict[str, Tensor]]) -> None:
    for name in ("raw", "ema"):
        assert first[name].keys() == second[name].keys()
        for key, tensor in first[name].items():
            assert torch.equal(tensor, second[name][key]), f"{name} {key}"


@pytest.fixture(scope="module")
def at_once(
    toy_run: TrainSettings, toy_latents: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Tensor]]:
    """Weights after sixty steps that nothing interrupted."""
    return weights(toy_run, toy_latents, 60, tmp_path_factory.mktemp("at-once"))


def test_milestones_change_nothing(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, at_once: dict[str, dict[str, Tensor]]
) -> None:
    for step in (7, 51):
        weights(toy_run, toy_latents, step, tmp_path)
    assert_identical(at_once, weights(toy_run, toy_latents, 60, tmp_path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_stop_saves_the_state_and_the_next_start_goes_on(
    toy_run: TrainSettings,
    toy_latents: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_once: dict[str, dict[str, Tensor]],
    number: signal.Signals,
) -> None:
    draw = BatchSource.batch

    def draw_and_terminate(self: BatchSource, step: int) -> Any:
        if step == 23:
            os.kill(os.getpid(), number)
        return draw(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(BatchSource, "batch", draw_and_terminate)
        with pytest.raises(Interrupted) as caught:
            train_to(toy_run, toy_latents, 60, tmp_path, CPU)
    assert caught.value.code == 143
    states = [path.name for path in tmp_path.rglob("state-*.safetensors")]
    assert states == ["state-000000024.safetensors"]
    assert_identical(at_once, weights(toy_run, toy_latents, 60, tmp_path))


def test_a_second_interrupt_ends_at_once(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = BatchSource.batch

    def draw_and_interrupt_twice(self: BatchSource, step: int) -> Any:
        if step == 23:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return draw(self, step)

    monkeypatch.setattr(BatchSource, "batch", draw_and_interrupt_twice)
    with pytest.raises(KeyboardInterrupt):
        train_to(toy_run, toy_latents, 60, tmp_path, CPU)
    assert list(tmp_path.rglob("state-*")) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop_noticed() as received:
            os.kill(os.getpid(), signal.SIGHUP)
        assert received == []
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_log_lines_are_the_same_after_an_interruption(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path
) -> None:
    def lines(states: Path) -> list[dict[str, float]]:
        path = next(states.rglob("metrics.jsonl"))
        records = [json.loads(line) for line in path.read_text().splitlines()]
        return [{key: value for key, value in record.items() if key != "seconds"} for record in records]

    train_to(toy_run, toy_latents, 100, tmp_path / "a", CPU)
    train_to(toy_run, toy_latents, 30, tmp_path / "b", CPU)
    (next((tmp_path / "b").rglob("metrics.jsonl"))).write_text('{"step": 50, "loss": 1}\n{"step": 5')
    train_to(toy_run, toy_latents, 100, tmp_path / "b", CPU)
    assert [line["step"] for line in lines(tmp_path / "a")] == [50, 100]
    assert lines(tmp_path / "a") == lines(tmp_path / "b")


def published(run: TrainSettings, manifest: Path, step: int, folder: Path) -> MilestoneFiles:
    names = ("ema.safetensors", "raw.safetensors", "metrics.jsonl", "loss.svg")
    files = MilestoneFiles(*(folder / f"step-{step}" / name for name in names))
    train_milestone(TrainJob(run, manifest, step, folder / "states", CPU), files)
    return files


def logged_steps(files: MilestoneFiles) -> list[int]:
    return [json.loads(line)["step"] for line in files.metrics.read_text().splitlines()]


def test_an_earlier_stop_that_is_added_later_takes_nothing_from_the_log_of_the_others(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = published(toy_run, toy_latents, 200, tmp_path).metrics.read_text()
    draw = BatchSource.batch

    def draw_and_terminate(self: BatchSource, step: int) -> Any:
        if step == 60:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(BatchSource, "batch", draw_and_terminate)
        with pytest.raises(Interrupted):
            published(toy_run, toy_latents, 100, tmp_path)
    assert logged_steps(published(toy_run, toy_latents, 100, tmp_path)) == [50, 100]
    assert published(toy_run, toy_latents, 200, tmp_path).metrics.read_text() == first
    # Resumes from step 200, whose state and log are still there.
    assert logged_steps(published(toy_run, toy_latents, 250, tmp_path)) == [50, 100, 150, 200, 250]


@pytest.mark.parametrize("lost", ["raw.safetensors", "ema.safetensors", "metrics.jsonl"])
def test_a_lost_export_is_written_again_from_the_final_state_without_a_step(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    first = published(toy_run, toy_latents, 50, tmp_path)
    exported = {"raw": load_file(first.raw), "ema": load_file(first.ema)}
    log = first.metrics.read_text()
    for copy in tmp_path.rglob(lost):
        copy.unlink()

    def fail(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(TrainingStep, "__call__", fail)
    again = published(toy_run, toy_latents, 50, tmp_path)
    assert_identical(exported, {"raw": load_file(again.raw), "ema": load_file(again.ema)})
    assert again.metrics.read_text() == log


@pytest.mark.parametrize(
    ("runtime", "saved"),
    [
        (CPU, [10]),
        (Runtime(device=torch.device("cpu"), save_steps=4), [4, 8, 10]),
        (Runtime(device=torch.device("cpu"), save_minutes=1e-9), [*range(1, 11)]),
    ],
    ids=["only at the end", "every four steps", "by the clock"],
)
def test_states_are_saved_every_so_many_steps_and_minutes(
    toy_run: TrainSettings,
    toy_latents: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    runtime: Runtime,
    saved: list[int],
) -> None:
    steps: list[int] = []
    monkeypatch.setattr(StateFolder, "save", lambda _, state: steps.append(state.step))
    train_to(toy_run, toy_latents, 10, tmp_path, runtime)
    assert steps == saved


class LaterSettings(TrainSettings):
    """Settings of a version that has one more key."""

    later: Annotated[int, Before(0)] = 1


def test_a_key_that_was_added_later_leaves_a_run_its_folder(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path
) -> None:
    reader, fields = LatentReader(toy_latents, "train"), dict(toy_run)
    now, same, other = toy_run, LaterSettings(**fields, later=0), LaterSettings(**fields)
    paths = [state_folder(settings, reader, tmp_path).path for settings in (now, same, other)]
    assert paths[0] == paths[1] != paths[2]


def test_a_finished_milestone_is_not_trained_again(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = weights(toy_run, toy_latents, 5, tmp_path)

    def fail(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(loop, "initial_model", fail)
    assert_identical(first, weights(toy_run, toy_latents, 5, tmp_path))


def test_other_settings_start_anew_and_leave_the_old_run(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path
) -> None:
    first = train_to(toy_run, toy_latents, 5, tmp_path, CPU)
    other = train_to(toy_run.with_recipe(learning_rate=1e-3), toy_latents, 5, tmp_path, CPU)
    assert first.path != other.path
    assert first.export_path(5, "ema.safetensors").exists()


def test_other_latents_start_anew(toy_run: TrainSettings, toy_latents: Path, tmp_path: Path) -> None:
    first = train_to(toy_run, toy_latents, 5, tmp_path, CPU)
    content = json.loads(toy_latents.read_text())
    content["scale"] = 0.5
    changed = toy_latents.with_name("other-manifest.json")
    from dit_scaling.latents.manifest import Split, content_digest

    splits: Any = {name: Split.model_validate_json(json.dumps(split)) for name, split in content["splits"].items()}
    changed.write_text(json.dumps(content | {"content": content_digest(splits, 0.5)}))
    assert train_to(toy_run, changed, 5, tmp_path, CPU).path != first.path


def test_training_lowers_the_loss_from_its_untrained_value(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path
) -> None:
    folder = train_to(toy_run, toy_latents, 400, tmp_path, CPU)
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert lines[0]["mse"] < 1.05
    assert lines[-1]["mse"] < 0.6 * lines[0]["mse"]
    for line in lines:
        assert line["loss"] == pytest.approx(line["mse"] + line["vb"], rel=1e-5)


def test_ema_follows_the_closed_form_of_its_raw_weights(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path
) -> None:
    """ema_2 = d ema_1 + (1-d) w_2 from the exported weights of steps 1 and 2, d = 3/12 on the ramp."""
    first = weights(toy_run, toy_latents, 1, tmp_path)
    second = weights(toy_run, toy_latents, 2, tmp_path)
    for key, tensor in second["ema"].items():
        expected = 0.25 * first["ema"][key] + 0.75 * second["raw"][key]
        torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-7)
    assert any(not torch.equal(second["ema"][key], second["raw"][key]) for key in second["raw"])


def first_step(settings: TrainSettings, manifest: Path, states: Path) -> float:
    """How far the farthest weight moves in the first step; AdamW's first step is lr * g / (|g| + 1e-8)."""
    torch.manual_seed(seed_for("init", settings.seed))
    start = create_model(settings.variant, 8, CLASSES, 2).state_dict()
    moved = weights(settings, manifest, 1, states)["raw"]
    return max(float((moved[name] - start[name]).abs().max()) for name in start)


def test_warm_up_starts_with_its_share_of_the_learning_rate(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path
) -> None:
    for warmup, share in ((0, 1), (5, 1 / 5), (50, 1 / 50)):
        settings = toy_run.with_recipe(warmup_steps=warmup)
        assert first_step(settings, toy_latents, tmp_path) == pytest.approx(share * 2.0e-3, rel=0.01)


def test_gradients_are_clipped_to_the_stated_norm(toy_run: TrainSettings, toy_latents: Path, tmp_path: Path) -> None:
    free = weights(toy_run, toy_latents, 10, tmp_path)
    assert_identical(free, weights(toy_run.with_recipe(gradient_clip=1.0e9), toy_latents, 10, tmp_path))
    # A gradient far below AdamW's epsilon of 1e-8 hardly moves a weight.
    clipped = toy_run.with_recipe(gradient_clip=1.0e-11, warmup_steps=0)
    assert 0 < first_step(clipped, toy_latents, tmp_path) < 2.0e-3 * 1.0e-3


def test_bfloat16_autocast_trains_close_to_float32(toy_run: TrainSettings, toy_latents: Path, tmp_path: Path) -> None:
    exact = weights(toy_run, toy_latents, 10, tmp_path)["raw"]
    coarse = weights(toy_run.with_recipe(precision="bfloat16"), toy_latents, 10, tmp_path)["raw"]
    moved = False
    for key, tensor in exact.items():
        assert coarse[key].dtype == torch.float32
        torch.testing.assert_close(coarse[key], tensor, rtol=0.1, atol=0.02)
        moved = moved or not torch.equal(coarse[key], tensor)
    assert moved


def test_the_loss_is_float32_under_autocast(toy_run: TrainSettings, toy_latents: Path) -> None:
    model = create_model(toy_run.variant, 8, CLASSES, 2)
    batch = source(toy_run, toy_latents).batch(0)
    with torch.autocast("cpu", torch.bfloat16):
        losses = create_diffusion(PAPER_PROCESS).training_losses(model, batch.x0, batch.t, batch.y, batch.noise)
        assert model.x_embedder(batch.x0).dtype == torch.bfloat16
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler on this machine")
def test_a_compiled_network_trains_as_the_plain_one(toy_run: TrainSettings, toy_latents: Path, tmp_path: Path) -> None:
    exact = weights(toy_run, toy_latents, 10, tmp_path)["raw"]
    compiled = weights(toy_run.with_recipe(compile=True), toy_latents, 10, tmp_path)["raw"]
    for key, tensor in exact.items():
        torch.testing.assert_close(compiled[key], tensor, rtol=1e-3, atol=1e-4)


def test_without_a_compiler_training_goes_on_and_says_so(
    toy_run: TrainSettings,
    toy_latents: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = weights(toy_run, toy_latents, 5, tmp_path)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert_identical(plain, weights(toy_run.with_recipe(compile=True), toy_latents, 5, tmp_path))
    assert "no-such-compiler" in caplog.text


def test_a_broken_cache_of_the_compiler_is_named(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor.exc import InductorError

    def load(*_: object) -> Tensor:
        raise InductorError(ImportError("/cache/ab.main.so: file too short"), None)

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(TrainingStep, "__call__", load)
    with pytest.raises(UserError, match=r"file too short.*delete .*/cache and run") as told:
        train_to(toy_run, toy_latents, 5, tmp_path, CPU)
    assert "training.compile" in str(told.value)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler on this machine")
def test_files_that_a_killed_compilation_left_behind_are_named(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path
) -> None:
    def trained(states: str) -> subprocess.CompletedProcess[str]:
        settings = toy_run.with_recipe(compile=True).model_dump_json()
        command = [sys.executable, "-c", TRAIN_FIVE_STEPS, settings, str(toy_latents), str(tmp_path / states)]
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert trained("first").stdout == "trained\n"
    libraries = list((tmp_path / "cache").rglob("*.so"))
    assert libraries
    for library in libraries:
        os.truncate(library, 0)
    told = trained("second").stdout
    assert "training.compile: compiled code cannot be loaded" in told
    assert f"delete {tmp_path / 'cache'}" in told


def test_an_error_of_the_compiler_itself_stays_what_it_is(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor.exc import CppCompileError, InductorError

    def build(*_: object) -> Tensor:
        raise InductorError(CppCompileError(["g++"], "no such header"), None)

    monkeypatch.setattr(TrainingStep, "__call__", build)
    with pytest.raises(InductorError, match="no such header"):
        train_to(toy_run, toy_latents, 5, tmp_path, CPU)


def test_other_errors_of_a_step_stay_what_they_are(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Tensor:
        raise RuntimeError("no memory of that")

    monkeypatch.setattr(TrainingStep, "__call__", fail)
    with pytest.raises(RuntimeError, match="no memory of that"):
        train_to(toy_run, toy_latents, 5, tmp_path, CPU)


def test_a_checkpoint_names_its_origin_and_loads(toy_run: TrainSettings, toy_latents: Path, tmp_path: Path) -> None:
    folder = train_to(toy_run, toy_latents, 5, tmp_path, CPU)
    header = read_header(folder.export_path(5, "ema.safetensors"))
    assert header.step == 5
    assert header.settings_digest == toy_run.digest
    assert header.variant.name == "DiT-Toy/2"
    model = load_model(folder.export_path(5, "ema.safetensors"))
    output = model(torch.zeros(1, 2, 8, 8), torch.tensor([3]), torch.tensor([0]))
    assert output.shape == (1, 4, 8, 8)
    assert output.abs().max() > 0


def test_the_milestone_stage_publishes_all_its_files(toy_run: TrainSettings, toy_latents: Path, tmp_path: Path) -> None:
    files = MilestoneFiles(
        *(tmp_path / "out" / name for name in ("ema.safetensors", "raw.safetensors", "metrics.jsonl", "loss.svg"))
    )
    train_milestone(TrainJob(toy_run, toy_latents, 100, tmp_path / "states", CPU), files)
    assert [json.loads(line)["step"] for line in files.metrics.read_text().splitlines()] == [50, 100]
    drawn = ElementTree.parse(files.curve).getroot()
    assert {"loss", "mse", "vb", "gradient norm", "Training steps"} <= {text.text for text in drawn.iter(f"{SVG}text")}
    assert load_file(files.ema).keys() == load_file(files.raw).keys()


def test_a_loss_that_explodes_ends_in_a_message_with_the_step(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path
) -> None:
    wild = toy_run.with_recipe(learning_rate=1e30, warmup_steps=0)
    with pytest.raises(UserError, match=r"DiT-Toy/2, seed 0.*step 50.*learning_rate"):
        train_to(wild, toy_latents, 200, tmp_path, CPU)
    assert list(tmp_path.rglob("state-*")) == []


@pytest.mark.parametrize(("key", "value"), [("in_channels", 4), ("input_size", 16), ("num_classes", 2)])
def test_latents_that_do_not_fit_are_refused(
    toy_run: TrainSettings, toy_latents: Path, tmp_path: Path, key: str, value: int
) -> None:
    with pytest.raises(UserError, match=r"manifest\.json"):
        train_to(toy_run.model_copy(update={key: value}), toy_latents, 5, tmp_path, CPU)


def source(settings: TrainSettings, manifest: Path) -> BatchSource:
    return BatchSource(LatentReader(manifest, "train"), settings, torch.device("cpu"))


def test_a_batch_depends_on_seed_and_step_alone(toy_run: TrainSettings, toy_latents: Path) -> None:
    walked = source(toy_run, toy_latents)
    for step in range(4):
        batch = walked.batch(step)
    again = source(toy_run, toy_latents).batch(3)
    assert torch.equal(batch.x0, again.x0)
    assert torch.equal(batch.noise, again.noise)
    assert torch.equal(batch.t, again.t)
    assert torch.equal(batch.y, again.y)
    other = source(toy_run.model_copy(update={"seed": 1}), toy_latents).batch(3)
    assert not torch.equal(batch.noise, other.noise)


def test_labels_are_dropped_at_the_stated_rate_and_times_are_uniform(toy_run: TrainSettings, toy_latents: Path) -> None:
    drawn = source(toy_run, toy_latents)
    batches = [drawn.batch(step) for step in range(400)]
    labels = torch.cat([batch.y for batch in batches])
    times = torch.cat([batch.t for batch in batches]).float()
    dropped = (labels == CLASSES).float().mean()
    count = len(labels)
    assert abs(dropped - 0.1) < 4 * (0.09 / count) ** 0.5
    assert abs(times.mean() - 499.5) < 4 * (1000 / 12**0.5) / count**0.5
    assert times.min() >= 0
    assert times.max() <= 999


def test_x0_is_a_posterior_draw_of_image_or_mirror(toy_run: TrainSettings, toy_latents: Path) -> None:
    reader = LatentReader(toy_latents, "train")
    views = torch.from_numpy(reader.moments(np.arange(len(reader)))).float()  # (24, 2, 4, 8, 8)
    seen = {0: 0, 1: 0}
    drawn = source(toy_run, toy_latents)
    for step in range(30):
        batch = drawn.batch(step)
        for x0 in batch.x0:
            error = (views[:, :, :2] - x0).square().mean(dim=(2, 3, 4))  # (24, 2)
            best = int(error.argmin())
            seen[best % 2] += 1
            # exp(-4) is the variance of the toy posterior.
            assert float(error.min()) == pytest.approx(np.exp(-4), rel=0.5)
    assert 80 < seen[0] < 160
    unmirrored = source(toy_run.with_recipe(horizontal_flip=False), toy_latents).batch(0)
    error = (views[:, :, :2] - unmirrored.x0[:, None, None]).square().mean(dim=(3, 4, 5))
    assert all(int(row.argmin()) % 2 == 0 for row in error)
