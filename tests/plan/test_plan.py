"""Prices against closed forms worked out by hand and against torch's own counter; what a change reruns; power."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy import stats
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import write_json
from dit_scaling.config import Stages, load_study, parse_study
from dit_scaling.config.study import Study
from dit_scaling.data.assets import open_stages
from dit_scaling.latents.shards import LatentSample, write_shard
from dit_scaling.models import create_model
from dit_scaling.paper.published import convergence, reproduction_spread
from dit_scaling.plan import expectation, power
from dit_scaling.plan.command import plan_as_record, plan_study, tell_plan
from dit_scaling.plan.jobs import list_jobs
from dit_scaling.plan.network_costs import INCEPTION, Autoencoder
from dit_scaling.plan.price import Devices, devices_as_measured, price_of, stated_devices
from dit_scaling.plan.rerun import changed_against_results
from dit_scaling.plan.space import disk_of, peak_memory, training_mb
from dit_scaling.plan.time_left import price_files
from dit_scaling.training.state_folders import EXPORTS
from dit_scaling.variants import Variant
from dit_scaling.variants.training_memory import BLOCK_BYTES
from pipeline import edited

IMAGES = 1_281_167
CONFIG: dict[str, Any] = {
    "study": "budget",
    "data": {"source": "image_folder", "path": "/nowhere", "image_size": 256, "classes": 1000, "held_out": 10_000},
    "vae": {"source": "pretrained", "path": "stabilityai/sd-vae-ft-mse"},
    "variants": ["DiT-B/2", "DiT-L/2", "DiT-XL/2", "DiT-XL/4"],
    "training": {"steps": 52_000, "milestones": [26_000], "precision": "bfloat16"},
    "sampling": {"num_samples": 10_000},
    "metrics": {"extractor": {"kind": "inception", "weights": "/nowhere"}},
    "resources": {"gpus_per_node": 8},
}


def study_of(**changes: Any) -> Study:
    config = json.loads(json.dumps(CONFIG))
    for key, value in changes.items():
        section, name = key.split("__")
        config.setdefault(section, {})[name] = value
    return parse_study(config)


def written(folder: Path, study: Study, name: str = "study.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(study.model_dump(mode="json")))
    return path


# --- arithmetic


def test_autoencoders_cost_what_torch_counts() -> None:
    import torch
    from diffusers import AutoencoderKL
    from torch.utils.flop_counter import FlopCounterMode

    given = Autoencoder.of_study(study_of())
    trained = Autoencoder(1, (8, 16, 16), 2, 1, False)
    for shape, size in ((given, 256), (trained, 32)):
        levels = len(shape.blocks)
        with torch.device("meta"):
            vae = AutoencoderKL(
                in_channels=shape.channels,
                out_channels=shape.channels,
                latent_channels=shape.latent_channels,
                block_out_channels=shape.blocks,
                layers_per_block=shape.layers,
                norm_num_groups=8,
                mid_block_add_attention=shape.attention,
                down_block_types=("DownEncoderBlock2D",) * levels,
                up_block_types=("UpDecoderBlock2D",) * levels,
            )
            images = torch.empty(1, shape.channels, size, size)
            small = size // 2 ** (levels - 1)
            latents = torch.empty(1, shape.latent_channels, small, small)
        with FlopCounterMode(display=False) as counter:
            vae.encode(images)
        assert 2 * shape.encoding(size) == counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            vae.decode(latents)
        assert 2 * shape.decoding(size) == counter.get_total_flops()


def test_jobs_cost_what_one_works_out_by_hand() -> None:
    study = study_of()
    jobs = {(job.stage, job.name): job for job in list_jobs(study, Stages(study, ""), IMAGES)}
    forward = 118.64e9  # of XL/2, Table 4
    first = jobs["train", "DiT-XL/2 seed 0 to step 26,000"]
    last = jobs["train", "DiT-XL/2 seed 0 to step 52,000"]
    assert first.multiply_adds == last.multiply_adds == pytest.approx(3 * forward * 256 * 26_000, rel=1e-3)
    decoding = Autoencoder.of_study(study).decoding(256)
    sampling = jobs["sample", "DiT-XL/2 seed 0 step 52,000"]
    assert sampling.multiply_adds == pytest.approx(10_000 * 250 * forward, rel=1e-3)
    assert sampling.decoding == 10_000 * decoding
    assert jobs["features", "DiT-XL/2 seed 0 step 52,000, inception"].plain == 10_000 * INCEPTION


def test_guidance_doubles_the_passes_of_a_sample() -> None:
    study = study_of(sampling__guidance_scales=[1.0, 1.5])
    jobs = {job.name: job for job in list_jobs(study, Stages(study, ""), IMAGES) if job.stage == "sample"}
    plain, guided = (jobs[f"DiT-B/2 seed 0 step 52,000{end}"].multiply_adds for end in ("", " guidance 1.5"))
    assert guided == pytest.approx(2 * plain)


def test_hours_follow_from_rate_and_devices() -> None:
    devices = stated_devices("a100-80gb", 8, 0.4, study_of())
    assert devices.rate == pytest.approx(0.4 * 312e12)
    assert devices.sampling_rate == pytest.approx(0.4 * 19.5e12)
    study = study_of()
    jobs = [job for job in list_jobs(study, Stages(study, ""), IMAGES) if job.stage == "train"]
    one = price_of([job for job in jobs if job.variant == "DiT-XL/2"], devices)
    # 6 x 118.64e9 x 256 x 52,000 operations at 124.8e12 a second, while eight devices wait for states of 10.8 GB: two
    # until they are written at 0.32 GB/s, six by the steps and 15.8 by the clock until they are copied at 5 GB/s
    waited = 8 * 10.8 * (2 / 0.32 + (6 + 15.8) / 5)
    assert one.device_seconds / 3600 == pytest.approx(21.09 + waited / 3600, rel=1e-3)
    assert one.wall_seconds == pytest.approx(one.device_seconds / 8)


def test_milestones_of_a_run_wait_for_each_other() -> None:
    study = study_of(resources__gpus_per_node=1)
    jobs = [job for job in list_jobs(study, Stages(study, ""), IMAGES) if job.variant == "DiT-XL/2"]
    devices = Devices("any", 8, 1e14, 1e14, 1e14, None, "stated")
    price = price_of([job for job in jobs if job.stage == "train"], devices)
    assert price.wall_seconds == pytest.approx(price.device_seconds)


@pytest.mark.parametrize(("device", "utilisation"), [("abacus", 0.4), ("h200", 1.5), ("h200", 0.0)])
def test_impossible_devices_are_refused(device: str, utilisation: float) -> None:
    with pytest.raises(UserError, match=r"--device abacus|--utilisation"):
        stated_devices(device, 8, utilisation, study_of())


# --- space


def test_latents_take_the_bytes_of_a_shard(tmp_path: Path) -> None:
    study = study_of()
    moments = np.zeros((2, 8, 32, 32), dtype=np.float16)
    sizes = []
    for count in (3, 43):
        write_shard(tmp_path / "x.tar", (LatentSample(i, moments, 999, f"n0/{i}.JPEG") for i in range(count)))
        sizes.append((tmp_path / "x.tar").stat().st_size)
    # Tars end on blocks of 10,240 bytes, so the difference of two sizes tells an image's to within one of them.
    assert disk_of(study, 40).latents == pytest.approx(sizes[1] - sizes[0], abs=10_240)


def test_weights_states_and_samples_by_hand() -> None:
    disk = disk_of(study_of(), IMAGES)
    weights = 4 * (130.3e6 + 457.8e6 + 674.8e6 + 675.0e6)
    assert disk.checkpoints == pytest.approx(2 * 2 * weights, rel=1e-3)
    assert disk.states == pytest.approx(2 * 4 * weights, rel=1e-3)
    assert disk.samples == 4 * 2 * 10_000 * (256 * 256 * 3 + 16)
    few = disk_of(study_of(sampling__keep_samples=False, sampling__parts=3), IMAGES)
    assert few.samples == 4 * 2 * 3 * 20 * (256 * 256 * 3 + 16)
    # Of eight evaluations and decoded noise 10,000 images each, of the reference 10,000, of two levels the held-out.
    rows = 8 * 10_000 + 10_000 + 10_000 + 2 * study_of().data.held_out
    assert disk.features == few.features == 4 * 2048 * rows + 8 * (8 + 4) * (2048**2 + 2023**2)


def test_metrics_are_priced_on_cpu_cores_and_features_on_the_device() -> None:
    """10,000 samples: distances within both sets, and between them twice; a hundred resamples; neighbours again."""
    study = study_of(resources__threads=4)
    jobs = {job.stage: job for job in list_jobs(study, Stages(study, ""), IMAGES) if job.variant == "DiT-XL/2"}
    devices = Devices("any", 1, 1e14, 1e13, 1e12, None, "measured")
    scoring = jobs["score"]
    assert devices.seconds(scoring) == 0
    pairs, resample = 4 * 10_000**2 * 2648, 100 * (0.75 * 10_000 * 2048**2 + 3 * 2048**3)
    beside = 3 * 2048**3 + 100 * 3 * 1000**2 * 2048 + 1008 * 10_000 * 2048
    assert scoring.core_seconds == pytest.approx((pairs + resample + beside) / 2e10)
    price = price_of([scoring], devices)
    assert (price.device_seconds, price.core_seconds) == (0, scoring.core_seconds)
    assert price.wall_seconds == pytest.approx(scoring.core_seconds / 4)


def test_imported_latents_are_priced_by_the_bytes_that_a_core_copies() -> None:
    """1,281,167 images of 34,816 bytes at 0.14 GB/s, in 32 shards on eight devices."""
    latents = {"latents__source": "imported", "latents__shards": 32}
    study = study_of(**latents, training__horizontal_flip=False)
    (job,) = (job for job in list_jobs(study, Stages(study, ""), IMAGES) if job.stage == "latents")
    devices = Devices("any", 8, 1e14, 1e13, 1e12, None, "measured")
    price = price_of([job], devices)
    assert (price.device_seconds, price.core_seconds) == (0, pytest.approx(318.6, rel=1e-3))
    assert price.core_seconds == pytest.approx(disk_of(study, IMAGES).latents / 0.14e9)
    assert price.wall_seconds == pytest.approx(price.core_seconds / 8)
    assert price_files([job], devices) == {"latents/provenance.json": pytest.approx(price.core_seconds / 32)}


def test_a_given_reference_spares_the_features_of_the_training_images() -> None:
    def seen(study: Study) -> float:
        return next(job.plain for job in list_jobs(study, Stages(study, ""), IMAGES) if job.name == "inception")

    extractor = {"kind": "inception", "weights": "w.pt"}
    computed = seen(study_of(metrics__extractor=extractor))
    given = seen(study_of(metrics__extractor=extractor | {"reference": "r.npz"}))
    assert computed - given == pytest.approx((IMAGES - 10_000) * INCEPTION)


def test_a_step_costs_its_overhead_and_its_arithmetic() -> None:
    study = study_of(resources__gpus_per_node=1)
    jobs = {job.stage: job for job in list_jobs(study, Stages(study, ""), IMAGES) if job.variant == "DiT-XL/2"}
    devices = Devices("any", 1, 1e14, 1e13, 1e12, None, "measured", overhead=0.01)
    training, sampling = replace(jobs["train"], saving=None), jobs["sample"]
    first = training.passes / 3
    assert devices.seconds(training) == pytest.approx(2 * training.multiply_adds / 1e14 + 0.03 * first)
    assert devices.seconds(jobs["features"]) == pytest.approx(2 * 10_000 * INCEPTION / 1e12)
    passes = 250 * 10_000 / study.resources.sample_batch
    operations = 2 * (sampling.multiply_adds + sampling.decoding)
    assert devices.seconds(sampling) == pytest.approx(operations / 1e13 + 0.01 * passes)


def test_peak_memory_counts_weights_six_times_and_falls_with_ranks() -> None:
    study = study_of()
    variant = study.variant("DiT-XL/2")
    alone, shared = peak_memory(study, variant, 1), peak_memory(study, variant, 8)
    activations = 256 * 256 * 28 * 52 * 1152
    assert alone == pytest.approx(26 * 675e6 + activations, rel=1e-3)
    assert shared == pytest.approx(26 * 675e6 + activations / 8, rel=1e-3)
    in_parts = peak_memory(study_of(resources__micro_batch=8), variant, 8)
    assert in_parts == pytest.approx(30 * 675e6 + activations / 32, rel=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_blocks_keep_what_the_plan_says(precision: str) -> None:
    """Measured: what a network of four blocks keeps for its backward pass beside one of two."""
    batch, side, width = 2, 16, 128
    x, t, y = torch.randn(batch, 4, 2 * side, 2 * side), torch.tensor([3, 500]), torch.tensor([0, 1])

    def kept(layers: int) -> tuple[int, int]:
        variant = Variant(size="T", patch=2, depth=layers, hidden_size=width, num_heads=4)
        model = create_model(variant, 2 * side, 10, 4).train()
        own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        storages: dict[int, tuple[int, torch.Tensor]] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if (place := tensor.untyped_storage().data_ptr()) not in own:
                storages[place] = (tensor.untyped_storage().nbytes(), tensor)  # held, lest another takes its place
            return tensor

        casting = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), casting:
            model(x, t, y)
        return sum(size for size, _ in storages.values()), sum(p.numel() for p in model.parameters())

    (few, few_weights), (many, many_weights) = kept(2), kept(4)
    copies = 2 * (many_weights - few_weights) if precision == "bfloat16" else 0
    # A CPU's autocast leaves the two gated outputs in bfloat16; a GPU's has addcmul among what it promotes.
    expected = BLOCK_BYTES[precision] - (2 * 2 if precision == "bfloat16" else 0)
    assert (many - few - copies) / (2 * batch * side**2 * width) == pytest.approx(expected, rel=0.01)


def test_a_job_asks_for_the_shards_it_shuffles_among_a_copy_of_its_state_and_its_processes() -> None:
    variant = study_of().variant("DiT-XL/2")
    state, shards = 16 * 675e6, disk_of(study_of(), IMAGES).latents
    assert training_mb(study_of(), variant, IMAGES) == pytest.approx((shards + state + 32e9) / 1e6, rel=1e-3)
    grouped = study_of(training__shuffle_shards=1)  # of eight shards, and the next one
    assert training_mb(grouped, variant, IMAGES) == pytest.approx((shards / 4 + state + 32e9) / 1e6, rel=1e-3)


# --- what a change reruns


def names(text: str) -> dict[str, int]:
    """Stage to number of jobs, as the text says."""
    rows = [line.split() for line in text.splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) > 2 and row[0] in ("train", "sample", "features", "score")}


def test_another_learning_rate_reruns_every_training_and_what_follows(tmp_path: Path) -> None:
    old, new = written(tmp_path, study_of()), study_of(training__learning_rate=2e-4)
    devices = stated_devices("a100-80gb", 8, 0.4, study_of())
    text = tell_plan(new, devices, old)
    assert names(text) == {"train": 8, "sample": 8, "features": 8, "score": 8}
    assert "45.3" in text  # all of training's device-hours


def test_longer_training_reruns_only_the_rest(tmp_path: Path) -> None:
    longer = study_of(training__steps=60_000, training__milestones=[26_000, 52_000])
    old = written(tmp_path, study_of())
    text = tell_plan(longer, stated_devices("a100-80gb", 8, 0.4, study_of()), old)
    assert names(text) == {"train": 4, "sample": 4, "features": 4, "score": 4}


def test_a_change_is_priced_in_json_as_in_words(tmp_path: Path) -> None:
    old, new = written(tmp_path, study_of()), study_of(training__learning_rate=2e-4)
    devices = stated_devices("a100-80gb", 8, 0.4, study_of())
    text, record = tell_plan(new, devices, old, 2.0), plan_as_record(new, devices, old, 2.0)
    together = next(line.split() for line in text.splitlines() if line.startswith("together"))
    assert together[2:] == [f"{record[f'{unit}_hours']:.3g}" for unit in ("device", "core")]
    assert record["device_hours"] == pytest.approx(sum(row["device_hours"] for row in record["stages"]))
    assert record["price"] == pytest.approx(2 * record["device_hours"])
    assert f"At 2 a device-hour: {record['price']:,.0f}." in text
    assert f"Trained: {', '.join(record['trained'])}." in text
    assert plan_as_record(new, devices, None, 2.0).keys() > record.keys() - {"against", "trained"}


def test_little_money_has_its_decimals() -> None:
    study = load_study(Path(__file__).parents[2] / "config" / "config.yaml")
    assert "At 2.5 a device-hour: 0.50." in tell_plan(study, devices_as_measured("h200", 1, study), None, 2.5)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--probe", "--device", "h200"], "--probe measures this machine"),
        (["--probe", "--utilisation", "0.4"], "--probe measures this machine"),
        (["--device", "h200", "--price-per-hour", "inf"], "--price-per-hour inf: give a number"),
    ],
)
def test_options_that_do_not_go_together_or_are_no_number_are_refused(words: list[str], told: str) -> None:
    config = Path(__file__).parents[2] / "config" / "config.yaml"
    run = CliRunner().invoke(app, ["plan", str(config), *words])
    assert isinstance(run.exception, UserError)
    assert told in str(run.exception)


def test_resources_rerun_nothing(tmp_path: Path) -> None:
    old, new = written(tmp_path, study_of()), study_of(resources__gpus_per_node=4)
    assert tell_plan(new, stated_devices("h200", 8, 0.4, study_of()), old).startswith("Nothing that costs would run")


def test_results_tell_by_their_records_what_is_missing(tmp_path: Path) -> None:
    study, results = study_of(), tmp_path / "results"
    for job in plan_study(study).jobs:
        for record in job.records:
            write_json(results / record, {"settings_digest": job.digest})
    write_json(results / "data" / "provenance.json", {})
    devices = stated_devices("a100-80gb", 8, 0.4, study_of())
    assert tell_plan(study, devices, results).startswith("Nothing that costs would run")
    (results / "DiT-B-2" / "seed-0" / "step-52000" / "guidance-1.0" / "provenance.json").unlink()
    assert names(tell_plan(study, devices, results)) == {"score": 1}
    with pytest.raises(UserError, match="no results of a study"):
        tell_plan(study, devices, tmp_path)


def finished(study: Study, results: Path, states: Sequence[int]) -> Path:
    """Results of a finished study: its records, weights and samples, and of each run the states of some steps."""
    jobs = plan_study(study).jobs
    for job in jobs:
        for record in job.records:
            write_json(results / record, {"settings_digest": job.digest})
        for file in job.makes:
            (results / file).parent.mkdir(parents=True, exist_ok=True)
            (results / file).touch()
    write_json(results / "data" / "provenance.json", {})
    write_json(results / "latents" / "manifest.json", {"content": "toy"})
    stages = Stages(study, "")
    for name in study.variants:
        slug = study.variant(name).slug
        folder = results / "states" / slug
        write_json(folder / "settings.json", {"settings": stages.train(slug, 0).stored(), "latents": "toy"})
        for step in states:
            write_json(folder / f"state-{step:09d}.json", {})
    return results


def steps_left(study: Study, results: Path) -> dict[str, float]:
    """Steps that would be trained, by training."""
    jobs = changed_against_results(plan_study(study).jobs, results)
    return {job.name: job.images / study.training.batch_size for job in jobs if job.stage == "train"}


@pytest.mark.parametrize(("states", "left"), [([26_000, 52_000], 8_000), ([52_000, 55_000], 5_000), ([], 60_000)])
def test_an_extension_goes_on_from_the_states_that_are_there(tmp_path: Path, states: list[int], left: int) -> None:
    results = finished(study_of(), tmp_path, states)
    longer = study_of(training__steps=60_000, training__milestones=[26_000, 52_000])
    assert steps_left(longer, results) == {f"{name} seed 0 to step 60,000": left for name in longer.variants}


@pytest.mark.parametrize(("states", "left"), [([26_000, 52_000], 0), ([], 26_000)])
def test_what_was_deleted_is_made_again_where_something_has_to_read_it(
    tmp_path: Path, states: list[int], left: int
) -> None:
    results, name = finished(study_of(), tmp_path, states), "DiT-B/2 seed 0 to step 26,000"
    early = results / "DiT-B-2" / "seed-0" / "step-26000"
    (early / "ema.safetensors").unlink()
    assert steps_left(study_of(), results) == {}
    others = study_of(sampling__num_samples=20_000)
    assert steps_left(others, results) == {name: left}
    exported = results / "states" / "DiT-B-2" / "step-26000"
    exported.mkdir()
    for file in EXPORTS:
        (exported / file).touch()
    assert steps_left(others, results) == {name: 0}
    part = early / "guidance-1.0" / "samples" / "part-00000"
    for path in (part.with_suffix(".npz"), early / "guidance-1.0" / "features" / "inception" / "provenance.json"):
        path.unlink()
    changed = changed_against_results(plan_study(study_of()).jobs, results)
    assert [job.stage for job in changed] == ["train", "sample", "features"]


def test_jobs_are_told_apart_by_what_the_workflow_tells_them_apart_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vae").mkdir()
    for name in ("vae/config.json", "weights.pt", "reference.npz"):
        (tmp_path / name).write_text(name)
    changes = {
        "vae": {"source": "pretrained", "path": "./vae", "latent_channels": 2, "downsampling": 4},
        "checkpoints": {"DiT-Nano/2": "weights.pt"},
        "metrics.beside": [{"kind": "inception", "weights": "weights.pt", "reference": "reference.npz"}],
    }
    study = load_study(edited(tmp_path, changes))
    jobs = list_jobs(study, open_stages(study, tmp_path / "results"), IMAGES)
    assert [(job.stage, job.name, job.digest) for job in plan_study(study).jobs] == [
        (job.stage, job.name, job.digest) for job in jobs
    ]


# --- what the budget can show


def test_bands_hold_the_published_figures_they_are_made_of() -> None:
    bands = expectation.expected_bands(study_of(training__steps=400_000))
    assert all(band.low < band.published < band.high for band in bands.values())
    early = expectation.expected_bands(study_of(training__steps=50_000))
    accelerated = convergence().query("steps == 50000").set_index("model")["fid50k"]
    for size in ("B", "L", "XL"):
        band = early[f"DiT-{size}/2"]
        # A plain run is no better than the accelerated one, but for the spread of reproductions.
        assert band.low >= accelerated[f"SiT-{size}/2+REPA"] / 1.0754  # exp of the pooled spread
        assert band.high > band.low > bands[f"DiT-{size}/2"].high


def test_gaps_between_sizes_open_with_the_steps() -> None:
    # ln(78.2 / 52.3) over ln(24.4 / 7.9): the accelerated runs at 50K and 400K steps
    assert expectation.gap_share(50_000) == pytest.approx(math.log(78.2 / 52.3) / math.log(24.4 / 7.9))
    shares = [expectation.gap_share(steps) for steps in (10, 25_000, 50_000, 100_000, 200_000, 400_000)]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_power_is_that_of_simulated_t_tests() -> None:
    rng = np.random.default_rng(0)
    effect, sd, df, level = -0.3, 0.1, 5, 0.05
    draws = rng.normal(effect, sd, 200_000) / (sd * np.sqrt(rng.chisquare(df, 200_000) / df))
    simulated = np.mean(stats.t.cdf(draws, df) < level)
    assert power.pair_power(effect, sd, df, level) == pytest.approx(simulated, abs=0.005)
    assert power.pair_power(0.0, sd, df, level) == pytest.approx(level)


def test_more_seeds_and_samples_never_lose_power() -> None:
    def weakest(**changes: Any) -> float:
        study = study_of(**changes)
        return min(
            pair.power for pair in power.power_of_pairs(study, power.size_pairs(power.published_estimates(study)))
        )

    assert weakest() < weakest(training__seeds=[0, 1, 2]) < weakest(training__seeds=list(range(10)))
    assert weakest(sampling__num_samples=2000) < weakest(sampling__num_samples=50_000)
    assert weakest() < weakest(training__steps=400_000)


def test_the_budget_of_52k_steps_gets_one_sentence_per_claim() -> None:
    claims = power.describe_claims(study_of())
    assert [claim[:7] for claim in claims] == ["Claim 1", "Claim 2", "Claim 3"]
    assert "0 of 3 pairs" in claims[0]
    assert "the weakest is DiT-XL/2 against DiT-L/2" in claims[0]
    assert "0 of 1 pair" in claims[1]
    assert "chance 66%" in claims[1]
    assert "the claim stays inconclusive" in claims[2]
    assert "takes 8 variants" in claims[2]


def test_degrees_of_freedom_are_those_that_the_claims_will_have() -> None:
    spread = reproduction_spread()
    assert [power.degrees_of_freedom(4, seeds) for seeds in (1, 2, 3, 4, 6)] == [spread.df, 2, 4, 6, 10]
    assert power.degrees_of_freedom(3, 2) == spread.df


def test_the_shipped_config_of_52k_steps_is_told_what_it_can_show() -> None:
    study = load_study(Path(__file__).parents[2] / "config" / "imagenet256-52k.yaml")
    text = tell_plan(study, stated_devices("a100-80gb", 8, 0.4, study), None)
    claims = [line for line in text.splitlines() if line.startswith("Claim ")]
    assert [claim[:7] for claim in claims] == ["Claim 1", "Claim 2", "Claim 3"]
    assert all(claim.endswith(".") and "; the weakest is DiT-XL/2 against" in claim for claim in claims)
    for variant in ("DiT-B/2", "DiT-L/2", "DiT-XL/2", "DiT-XL/4"):
        assert f"  {variant}: " in text.split("FID to expect at 52,000 steps")[1]
    assert "Sources: DiT (arXiv 2212.09748) Table 4" in text
    assert "TOO MUCH" not in text
    assert text.count("With one seed nothing is supported or contradicted") == (len(study.training.seeds) == 1)
    two = study.model_copy(update={"training": study.training.model_copy(update={"seeds": (0, 1)})})
    assert "With one seed" not in tell_plan(two, stated_devices("a100-80gb", 8, 0.4, study), None)


def test_other_data_get_no_figures_of_imagenet() -> None:
    study = parse_study(CONFIG | {"data": CONFIG["data"] | {"image_size": 128}})
    text = tell_plan(study, stated_devices("h200", 8, 0.4, study_of()), None)
    assert "not known in advance, as published curves are of ImageNet's 1,000 classes at 256x256" in text
    assert "FID to expect" not in text


# --- the command


def test_one_of_a_kind_is_told_in_the_singular(tmp_path: Path) -> None:
    study = parse_study(CONFIG | {"variants": ["DiT-B/2"], "data": CONFIG["data"] | {"count": IMAGES}})
    longer = written(tmp_path, study.model_copy(update={"seed": 1}))
    devices = stated_devices("a100-80gb", 8, 0.4, study)
    told = tell_plan(study, devices, None) + tell_plan(study, devices, longer)
    assert "1 variant, 1 seed," in told
    assert not re.findall(r"(?<![\d.,])1 [a-z]+s\b", told)


def test_plan_is_told_on_the_command_line_without_torch(tmp_path: Path) -> None:
    config = written(tmp_path, study_of())
    program = "import sys; from dit_scaling.cli import app; sys.argv[1:] = ['plan', '--configfile', sys.argv[1]]\n"
    program += "try: app()\nfinally: assert 'torch' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", program, str(config)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    for words in ("8 x a100-80gb", "together", "Disk: ", "FID to expect at 52,000 steps", "Claim 3"):
        assert words in run.stdout


def test_a_probe_multiplies_as_the_study_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from dit_scaling.plan import throughput as probe

    allowed = []

    def step_seconds(*_: object) -> float:
        allowed.append(torch.backends.cuda.matmul.allow_tf32)
        return 1.0

    monkeypatch.setattr(probe, "step_seconds", step_seconds)
    study = study_of()
    tf32 = study.training.model_copy(update={"precision": "tf32"})
    probe.measured_devices(study.model_copy(update={"training": tf32}), 1)
    assert set(allowed) == {True}


def test_a_probe_measures_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from dit_scaling.plan import throughput as probe

    monkeypatch.setattr(probe, "SECONDS", 0.05)
    root = Path(__file__).parents[2]
    run = CliRunner().invoke(app, ["plan", "--configfile", str(root / "config" / "config.yaml"), "--probe"])
    assert run.exit_code == 0, run.output
    assert re.search(
        r"\(measured: DiT-Micro/4 \S+ ms a step, DiT-Mini/1 \S+ ms a step, of which \S+ ms whatever", run.output
    )
