"""Every fault that preflight can see, put into the product's own code, is caught by the check that names it."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from dit_scaling.common.errors import UserError
from dit_scaling.config import Stages, parse_study
from dit_scaling.config.stages import PreflightSettings
from dit_scaling.data import sources
from dit_scaling.data.fingerprint import fingerprint
from dit_scaling.diffusion import base, flow_walks, samplers
from dit_scaling.diffusion.chain import Chain, ReverseStep
from dit_scaling.diffusion.flow import FlowMatching
from dit_scaling.diffusion.gaussian import GaussianDiffusion
from dit_scaling.diffusion.process import PAPER_PROCESS, DiffusionSettings, FlowSettings, create_diffusion
from dit_scaling.diffusion.samplers import SAMPLERS
from dit_scaling.diffusion.schedule import SCHEDULES
from dit_scaling.health.check import Check
from dit_scaling.health.preflight import compiled_checks, overfit_batch
from dit_scaling.health.preflight import preflight as stage
from dit_scaling.health.preflight.compiled_checks import check_compiled
from dit_scaling.health.preflight.ema_checks import check_formula
from dit_scaling.health.preflight.formula_networks import probe_settings
from dit_scaling.health.preflight.loss_checks import untrained_loss
from dit_scaling.health.preflight.sampler_checks import check_calls, check_moments
from dit_scaling.latents import autoencoder, encode, importing
from dit_scaling.latents.imported_shard import take_shard
from dit_scaling.latents.manifest import ShardJob, read_manifest, write_manifest
from dit_scaling.latents.reader import LatentReader
from dit_scaling.latents.shards import LatentSample
from dit_scaling.latents.vae_stage import make_vae
from dit_scaling.models import DiT
from dit_scaling.models.compiling import compiler_found
from dit_scaling.sampling import sample_noise as sampling_draws
from dit_scaling.training import batches as training_draws
from dit_scaling.training import step as step_module
from dit_scaling.training.batches import BatchSource
from dit_scaling.training.ranks import Ranks
from foreign_layouts import Moments, write_fast_dit, write_lightningdit, write_repa, write_tars

CPU = torch.device("cpu")
CLASSES = 3
FLOW = FlowSettings(objective="flow")
OF_DDPM, OF_FLOW = ([name for name, row in SAMPLERS.items() if row.objective == of] for of in ("ddpm", "flow"))
OF_THE_PROCESS = ("batches", "loss", "sampler", "mixed precision", "overfitted batch")  # the groups that depend on it
COLOURS = ((220, 40, 20), (30, 200, 90), (60, 50, 230))
Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Toy:
    """A study of coloured squares, encoded by the stages themselves."""

    settings: PreflightSettings
    folder: Path

    @property
    def vae(self) -> Path:
        return self.folder / "vae.json"

    @property
    def manifest(self) -> Path:
        return self.folder / "latents" / "manifest.json"

    def encode(self, folder: Path) -> "Toy":
        """The same study with its latents made anew, by whatever code there is now."""
        latents, facts = self.settings.latents, []
        for split in ("train", "held_out"):
            facts.append(folder / "latents" / f"{split}.json")
            shard, how = facts[-1].with_suffix(".tar"), encode.Encoding(CPU, 64)
            encode.encode_shard(ShardJob(latents, split, 0, self.vae, shard, facts[-1]), how)
        write_manifest(latents, facts, self.vae, folder / "latents" / "manifest.json")
        for name in ("vae.json", "autoencoder"):
            if folder != self.folder:
                (folder / name).symlink_to(self.folder / name)
        return Toy(self.settings, folder)

    def check(self, *groups: str) -> list[Check]:
        """The checks of these groups, of all but the slow one by default."""
        found = stage.list_groups(self.settings, self.vae, self.manifest, self.folder, CPU)
        chosen = groups or tuple(name for name in found if name != "overfitted batch")
        return [check for name in chosen for check in stage.run_group(name, found[name])]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """72 images of 16x16: a bright square somewhere on a ground whose colour is that of the class."""
    folder = tmp_path_factory.mktemp("preflight")
    rng = np.random.default_rng(0)
    for number in range(72):
        label = number % CLASSES
        pixels = np.full((16, 16, 3), COLOURS[label], dtype=np.uint8)
        top, left = rng.integers(0, 11, 2)
        pixels[top : top + 5, left : left + 5] = rng.integers(150, 256, 3)
        path = folder / "images" / f"class-{label}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    study = parse_study(
        {
            "study": "toy",
            "data": {
                "source": "image_folder",
                "path": str(folder / "images"),
                "image_size": 16,
                "classes": CLASSES,
                "held_out": 8,
            },
            "vae": {
                "source": "trained",
                "block_channels": [8, 8],
                "latent_channels": 4,
                "steps": 150,
                "batch_size": 16,
                "learning_rate": 5e-3,
            },
            "latents": {"shards": 1},
            "sizes": {"Toy": {"depth": 2, "hidden_size": 64, "num_heads": 2}},
            "variants": ["DiT-Toy/2"],
            "training": {"steps": 10, "batch_size": 16, "ema_decay": 0.9},
            "sampling": {"num_samples": 30, "parts": 3, "steps": 10, "guidance_scales": [1.0, 2.0]},
            "metrics": {"extractor": {"kind": "classifier", "steps": 10}, "kid_subset_size": 10},
        }
    )
    settings = Stages(study, fingerprint(study.data)).preflight()
    make_vae(settings.latents.vae, folder / "vae.json", folder / "autoencoder", folder / "vae.png", CPU)
    return Toy(settings, folder).encode(folder)


# --- healthy


def test_a_healthy_study_passes_every_check_and_leaves_its_record(toy: Toy) -> None:
    output = toy.folder / "preflight" / "preflight.json"
    stage.run_preflight(toy.settings, toy.vae, toy.manifest, output, CPU)
    record = json.loads(output.read_text())
    assert record["passed"]
    assert record["settings_digest"] == toy.settings.digest
    assert len({check["name"] for check in record["checks"]}) == len(record["checks"]) >= 30
    assert {path.name for path in output.parent.iterdir()} == {"preflight.json", "pairs.png", "overfit_batch.png"}


def test_a_failure_is_told_in_words_and_leaves_another_record(toy: Toy, monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setattr(overfit_batch, "STOPS", (1, 2))
    output = tmp_path / "preflight.json"
    with pytest.raises(UserError, match=r"an overfitted batch comes back: is .*, expected at most 0\.6\. It usually"):
        stage.run_preflight(toy.settings, toy.vae, toy.manifest, output, CPU)
    assert not output.exists()
    assert {path.name for path in (tmp_path / "failed").iterdir()} == {
        "preflight.json",
        "pairs.png",
        "overfit_batch.png",
    }
    assert not json.loads((tmp_path / "failed" / "preflight.json").read_text())["passed"]


def test_a_check_that_breaks_has_failed(toy: Toy, monkeypatch: Patch) -> None:
    monkeypatch.setattr(GaussianDiffusion, "training_losses", lambda *_: 1 / 0)
    assert [check.value for check in toy.check("loss") if not check.passed] == ["ZeroDivisionError: division by zero"]


@pytest.mark.parametrize("ramp", [False, True])
@pytest.mark.parametrize("decay", [0.5, 0.9, 0.998, 0.9999, 1.0])
def test_the_closed_form_of_the_ema_holds_for_every_decay(decay: float, ramp: bool) -> None:
    assert all(check.passed for check in check_formula(decay, ramp))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_schedule_of_the_formulas_is_diffusers(schedule: str) -> None:
    from diffusers import DDPMScheduler

    prediction = "v_prediction" if SCHEDULES[schedule].ends_in_noise else "epsilon"
    diffusion = create_diffusion(DiffusionSettings(schedule=schedule, prediction=prediction))
    to_diffusers, level = SCHEDULES[schedule].diffusers, diffusion.level(torch.arange(1000))
    assert to_diffusers
    signal, noise = level.signal.float(), level.noise.float()
    abar = DDPMScheduler(**to_diffusers(1000)).alphas_cumprod
    torch.testing.assert_close(signal.flatten() ** 2, abar, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(noise.flatten() ** 2, 1 - abar, rtol=2e-5, atol=1e-6)


def test_the_loss_of_an_untrained_network_on_the_papers_process_is_1_01() -> None:
    diffusion = create_diffusion(PAPER_PROCESS)
    noise = torch.randn(1000, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    x0 = torch.zeros_like(noise)
    assert untrained_loss(diffusion, torch.arange(1000), x0, noise) == pytest.approx(1.01, abs=0.01)


COSINE, SHORT = DiffusionSettings(schedule="cosine"), DiffusionSettings(num_timesteps=500)
CASES = {
    "cosine": (COSINE, "ddpm"),
    "500 timesteps, DDIM": (SHORT, "ddim"),
    "DPM-Solver": (PAPER_PROCESS, "dpm-solver"),
    "cosine, DDIM": (COSINE, "ddim"),
    "cosine, DPM-Solver": (COSINE, "dpm-solver"),
    "zero terminal SNR": (DiffusionSettings(schedule="zero-snr", prediction="v_prediction"), "ddpm"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_healthy_study_of_another_process_or_sampler_passes_every_check(toy: Toy, case: str, tmp_path: Path) -> None:
    process, sampler = CASES[case]
    sampling = toy.settings.sampling.model_copy(update={"diffusion": process, "sampler": sampler})
    settings = toy.settings.model_copy(update={"diffusion": process, "sampling": sampling})
    groups = stage.list_groups(settings, toy.vae, toy.manifest, tmp_path, CPU)
    checks = [check for name in OF_THE_PROCESS for check in stage.run_group(name, groups[name])]
    assert [check for check in checks if not check.passed] == []


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("sampler", OF_DDPM)
@pytest.mark.parametrize("num_timesteps", [1000, 500, 100])
def test_every_sampler_of_every_process_passes_the_closed_forms(
    toy: Toy, schedule: str, sampler: str, num_timesteps: int
) -> None:
    prediction = "v_prediction" if SCHEDULES[schedule].ends_in_noise else "epsilon"
    process = DiffusionSettings(schedule=schedule, num_timesteps=num_timesteps, prediction=prediction)
    assert failed_checks(toy, process, sampler) == []


@pytest.mark.parametrize("sampler", OF_FLOW)
def test_every_sampler_of_flow_passes_the_closed_forms(toy: Toy, sampler: str) -> None:
    assert failed_checks(toy, FLOW, sampler) == []


def failed_checks(toy: Toy, process: DiffusionSettings | FlowSettings, sampler: str) -> list[Check]:
    """Of the closed forms, those of a study's calls in few steps and in many."""
    diffusion, checks = create_diffusion(process), check_moments(create_diffusion(process), sampler)
    for steps in (5, 50):
        changes = {"diffusion": process, "sampler": sampler, "steps": steps}
        checks += check_calls(diffusion, toy.settings.sampling.model_copy(update=changes))
    return [check for check in checks if not check.passed]


@pytest.mark.slow
def test_another_objective_beside_the_first_is_checked_under_names_of_its_own(toy: Toy, tmp_path: Path) -> None:
    sampling = toy.settings.sampling.model_copy(update={"diffusion": FLOW, "sampler": "heun"})
    other = toy.settings.model_copy(update={"diffusion": FLOW, "sampling": sampling})
    both = toy.settings.model_copy(update={"further": (other,)})
    groups = stage.list_groups(both, toy.vae, toy.manifest, tmp_path, CPU)
    assert [name for name in groups if name.endswith(", flow")] == [f"{name}, flow" for name in OF_THE_PROCESS]
    checks = [check for name in groups if name.endswith(", flow") for check in stage.run_group(name, groups[name])]
    assert [check for check in checks if not check.passed] == []
    assert all(check.name.endswith(", flow") for check in checks)
    assert (tmp_path / "overfit_batch_flow.png").exists()


def velocity_turned(patch: Patch) -> None:
    losses = FlowMatching.training_losses
    patch.setattr(
        FlowMatching, "training_losses", lambda self, model, *rest: losses(self, lambda *i: -model(*i), *rest)
    )


def velocity_of_the_wrong_half(patch: Patch) -> None:
    patch.setattr(
        flow_walks, "velocity", lambda predict, x, time, y: predict(x, x.new_full(y.shape, time), y)[:, x.shape[1] :]
    )


def times_of_a_chain(patch: Patch) -> None:
    patch.setattr(
        flow_walks,
        "velocity",
        lambda predict, x, time, y: predict(x, x.new_full(y.shape, 1000 * time), y)[:, : x.shape[1]],
    )


@pytest.mark.parametrize(
    ("inject", "group", "name"),
    [
        (velocity_turned, "loss", "velocity channels in the loss"),
        (velocity_of_the_wrong_half, "sampler", "velocity channels in the sampler"),
        (times_of_a_chain, "sampler", "timesteps of the sampler"),
    ],
    ids=["sign of the velocity", "other half of the channels", "times from 0 to 1000"],
)
def test_a_fault_of_flow_is_caught_by_name(
    toy: Toy, monkeypatch: Patch, tmp_path: Path, inject: Callable[[Patch], None], group: str, name: str
) -> None:
    inject(monkeypatch)
    sampling = toy.settings.sampling.model_copy(update={"diffusion": FLOW, "sampler": "euler"})
    settings = toy.settings.model_copy(update={"diffusion": FLOW, "sampling": sampling})
    groups = stage.list_groups(settings, toy.vae, toy.manifest, tmp_path, CPU)
    failed = [check for check in stage.run_group(group, groups[group]) if not check.passed]
    assert failed[0].name == name


# --- faults in the code that runs


def never_updated(patch: Patch) -> None:
    patch.setattr(step_module, "update_ema", lambda *_: None)


def restarted_from_zero(patch: Patch) -> None:
    update, seen = step_module.update_ema, set()

    def restart(average: torch.Tensor, weights: torch.Tensor, decay: float) -> None:
        if id(average) not in seen:
            average.zero_()
            seen.add(id(average))
        update(average, weights, decay)

    patch.setattr(step_module, "update_ema", restart)


def respaced_index(patch: Patch) -> None:
    patch.setattr(samplers, "fed_timesteps", lambda _chain, index, y: torch.full_like(y, index))


def clipped(patch: Patch) -> None:
    step = Chain.p_mean_variance

    def clip(self: Chain, output: torch.Tensor, x: torch.Tensor, index: Any) -> ReverseStep:
        c = self.coefficients(index, x)
        x0 = step(self, output, x, index).pred_x0.clamp(-1, 1)
        eps = (x - c.signal * x0) / c.noise
        return step(self, torch.cat([eps, output.chunk(2, dim=1)[1]], dim=1), x, index)

    patch.setattr(Chain, "p_mean_variance", clip)


def exchange(output: torch.Tensor) -> torch.Tensor:
    return torch.cat(output.chunk(2, dim=1)[::-1], dim=1)


def exchanged_in_the_sampler(patch: Patch) -> None:
    step = Chain.p_mean_variance
    patch.setattr(Chain, "p_mean_variance", lambda self, output, x, index: step(self, exchange(output), x, index))


def exchanged_in_the_loss(patch: Patch) -> None:
    losses = GaussianDiffusion.training_losses

    def swap(self: GaussianDiffusion, model: Any, *rest: Any) -> Any:
        return losses(self, lambda *inputs: exchange(model(*inputs)), *rest)

    patch.setattr(GaussianDiffusion, "training_losses", swap)


def altered_batches(change: Callable[[BatchSource, Any], Any]) -> Callable[[Patch], None]:
    batch = BatchSource.batch

    def patched(patch: Patch) -> None:
        patch.setattr(BatchSource, "batch", lambda self, step: change(self, batch(self, step)))

    return patched


def scaled(power: int) -> Callable[[Patch], None]:
    return altered_batches(lambda self, batch: replace(batch, x0=batch.x0 * self._reader.manifest.scale**power))


def undivided_decoding(patch: Patch) -> None:
    decode = autoencoder.decode
    patch.setattr(autoencoder, "decode", lambda vae, z, *rest: decode(vae, z * vae.config.scaling_factor, *rest))


def null_class(number: int) -> Callable[[Patch], None]:
    return altered_batches(
        lambda _, batch: replace(batch, y=torch.where(batch.y == CLASSES, torch.tensor(number), batch.y))
    )


class Renumbered:
    """A network that says it has another null class."""

    def __init__(self, model: Any, number: int) -> None:
        self._model, self.num_classes = model, number

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self._model(*inputs)
        return output


def null_class_of_guidance(number: int) -> Callable[[Patch], None]:
    guided = base.guided
    return lambda patch: patch.setattr(
        base, "guided", lambda model, scale, *rest: guided(Renumbered(model, number), scale, *rest)
    )


def wrong_half(patch: Patch) -> None:
    guided = base.guided
    patch.setattr(
        base,
        "guided",
        lambda model, scale, channels: model if scale == 1.0 else guided(model, 1.0 - scale, channels),
    )


def fed_unit_range(patch: Patch) -> None:
    convert = autoencoder.to_unit_range
    patch.setattr(autoencoder, "to_unit_range", lambda *inputs: (convert(*inputs) + 1) / 2)


def blue_first_to_the_vae(patch: Patch) -> None:
    convert = autoencoder.to_unit_range
    patch.setattr(autoencoder, "to_unit_range", lambda *inputs: convert(*inputs).flip(1))


def blue_first_from_the_file(patch: Patch) -> None:
    crop = sources.centre_crop
    patch.setattr(sources, "centre_crop", lambda *inputs: crop(*inputs)[..., ::-1])


def shuffled_labels(patch: Patch) -> None:
    start = BatchSource.__init__

    def shuffle(self: BatchSource, *inputs: Any) -> None:
        start(self, *inputs)
        self._labels = self._labels[torch.randperm(len(self._labels), generator=torch.Generator().manual_seed(0))]

    patch.setattr(BatchSource, "__init__", shuffle)


def training_mode(patch: Patch) -> None:
    @contextmanager
    def as_it_is(_model: Any) -> Iterator[None]:
        with torch.inference_mode():
            yield

    patch.setattr(base, "evaluating", as_it_is)


def one_seed(module: Any) -> Callable[[Patch], None]:
    """Every rank, step and sample with the seed of the first."""
    seed_for = module.seed_for
    return lambda patch: patch.setattr(module, "seed_for", lambda *parts: seed_for(*parts[:-1]))


def same_images(patch: Patch) -> None:
    """The second rank reads the images of the first, with timesteps and noise of its own."""

    class Repeated(training_draws.EpochOrder):
        def indices(self, step: int, batch_size: int) -> Any:
            return np.tile(super().indices(step, batch_size)[: batch_size // 2], 2)

    patch.setattr(training_draws, "EpochOrder", Repeated)


def half_attention(patch: Patch) -> None:
    def attend(*inputs: torch.Tensor) -> torch.Tensor:
        q, k, v = (some.half() for some in inputs)
        with torch.autocast("cpu", enabled=False):
            return ((q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1) @ v).to(inputs[0])

    patch.setattr(F, "scaled_dot_product_attention", attend)


def raw_exported_as_ema(patch: Patch) -> None:
    patch.setattr(step_module.FlatParameters, "named", lambda *_: {})


def one_share(patch: Patch) -> None:
    """Every rank with the rows of the first."""
    patch.setattr(Ranks, "share", lambda self, size: slice(0, size // self.count))


FAULTS: dict[str, tuple[Callable[[Patch], None], str, str]] = {
    "EMA never updated": (never_updated, "real steps", "EMA moves"),
    "raw weights in the EMA's place": (raw_exported_as_ema, "real steps", "EMA follows the weights"),
    "EMA restarted from zero": (restarted_from_zero, "real steps", "EMA starts from the weights"),
    "respaced index as timestep": (respaced_index, "sampler", "timesteps of the sampler"),
    "x0 clipped": (clipped, "sampler", "x0 not clipped"),
    "channels exchanged in the sampler": (exchanged_in_the_sampler, "sampler", "noise channels in the sampler"),
    "channels exchanged in the loss": (exchanged_in_the_loss, "loss", "noise channels in the loss"),
    "scale applied twice": (scaled(1), "batches", "latent scale"),
    "scale not applied": (scaled(-1), "batches", "latent scale"),
    "scale not undone": (undivided_decoding, "VAE", "decoder scale"),
    "null class off by one": (null_class(CLASSES - 1), "batches", "null class in training"),
    "null class 1000": (null_class(1000), "batches", "null class in training"),
    "null class off by one in guidance": (null_class_of_guidance(CLASSES - 1), "sampler", "null class in guidance"),
    "null class 1000 in guidance": (null_class_of_guidance(1000), "sampler", "null class in guidance"),
    "guidance on the wrong half": (wrong_half, "sampler", "guidance 1 is conditional"),
    "VAE fed [0, 1]": (fed_unit_range, "VAE", "VAE input range"),
    "VAE fed blue first": (blue_first_to_the_vae, "VAE", "VAE input channels"),
    "files read blue first": (blue_first_from_the_file, "images", "image colours"),
    "labels shuffled in the batches": (shuffled_labels, "batches", "labels of the batches"),
    "training mode at sampling": (training_mode, "sampler", "evaluation mode"),
    "one seed for all samples": (one_seed(sampling_draws), "sampler", "noise of the samples differs"),
    "one share for all ranks": (one_share, "batches", "noise of training differs"),
    "the same images for all ranks": (same_images, "batches", "images of the batches"),
    "float16 overflow in attention": (half_attention, "mixed precision", "large attention is finite"),
    "one seed for all of training": (one_seed(training_draws), "batches", "noise of training differs"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught_by_name(toy: Toy, monkeypatch: Patch, fault: str) -> None:
    inject, group, name = FAULTS[fault]
    inject(monkeypatch)
    failed = [check for check in toy.check(group) if not check.passed]
    # The check that names the fault is the first that fails; others may fail as its consequence.
    assert failed
    assert failed[0].name == name


# --- faults in what was stored


def altered_shards(patch: Patch, change: Callable[[list[LatentSample]], Iterable[LatentSample]]) -> None:
    """Every shard with other samples than were encoded for it."""
    write = encode.write_shard
    patch.setattr(encode, "write_shard", lambda output, samples: write(output, change(list(samples))))


def mirror_first(patch: Patch) -> None:
    altered_shards(patch, lambda samples: [replace(sample, moments=sample.moments[::-1]) for sample in samples])


def mirrors_of_other_images(patch: Patch) -> None:
    def shift(samples: list[LatentSample]) -> Iterator[LatentSample]:
        for sample, other in zip(samples, samples[1:] + samples[:1], strict=True):
            yield replace(sample, moments=np.stack([sample.moments[0], other.moments[1]]))

    altered_shards(patch, shift)


def labels_in_another_order(patch: Patch) -> None:
    def reverse(samples: list[LatentSample]) -> Iterator[LatentSample]:
        for sample, other in zip(samples, reversed(samples), strict=True):
            yield replace(sample, label=other.label)

    altered_shards(patch, reverse)


def another_split(patch: Patch) -> None:
    patch.setattr(encode, "split_indices", lambda count, held_out, _: (np.arange(held_out, count), np.arange(held_out)))


STORED: dict[str, tuple[Callable[[Patch], None], str, str]] = {
    "labels in another order": (labels_in_another_order, "stored latents", "labels belong to latents"),
    "mirror in the image's place": (mirror_first, "stored latents", "mirrored moments"),
    "mirror under another image's key": (mirrors_of_other_images, "stored latents", "mirrored moments"),
    "encoded from [0, 1]": (fed_unit_range, "stored latents", "latents belong to images"),
    "held-out images trained on": (another_split, "label histogram", "label histogram"),
}


@pytest.mark.parametrize("fault", STORED)
def test_a_fault_of_the_stored_latents_is_caught_by_name(
    toy: Toy, monkeypatch: Patch, tmp_path: Path, fault: str
) -> None:
    inject, group, name = STORED[fault]
    with monkeypatch.context() as patch:
        inject(patch)
        faulty = toy.encode(tmp_path)
    failed = [check.name for check in faulty.check(group) if not check.passed]
    assert failed
    assert failed[0] == name


# --- imported latents


@dataclass(frozen=True)
class ForeignSet:
    """The study's own latents in the order of its images, and these images' labels and names."""

    moments: Moments
    labels: NDArray[np.int64]
    keys: Sequence[str]

    @property
    def keys_in_tars(self) -> list[str]:
        """Names without what a tar takes for a suffix."""
        return [key.removesuffix(".png") for key in self.keys]

    def drawn(self) -> "ForeignSet":
        """With draws in the place of means, as layouts without log-variances hold them."""
        mean, log_variance = np.split(self.moments.astype(np.float32), 2, axis=2)
        draws = mean + np.exp(log_variance / 2) * np.random.default_rng(0).normal(size=mean.shape)
        return replace(self, moments=np.concatenate([draws, log_variance], axis=2).astype(np.float16))


@pytest.fixture(scope="module")
def own(toy: Toy) -> ForeignSet:
    source = sources.open_source(toy.settings.latents.vae.data.data)
    readers = [LatentReader(toy.manifest, split) for split in ("train", "held_out")]
    names = [name for reader in readers for name in reader.sources]
    order = np.argsort([source.keys.index(name) for name in names])
    moments = np.concatenate([reader.moments(np.arange(len(reader))) for reader in readers])[order]
    return ForeignSet(moments, source.labels, source.keys)


def with_imported(toy: Toy, folder: Path, write: Callable[[Path], object], mirrored: bool = False, **how: Any) -> Toy:
    """The study with latents that were imported from what ``write`` leaves in a folder."""
    write(folder / "foreign")
    importing.import_latents(folder / "foreign", folder / "imported", **how)
    chosen = toy.settings.latents.latents.model_copy(update={"source": "imported"})
    latents, facts = toy.settings.latents.model_copy(update={"latents": chosen}), []
    for split in ("train", "held_out"):
        facts.append(folder / "latents" / f"{split}.json")
        record = folder / "imported" / "imported.json"
        take_shard(ShardJob(latents, split, 0, toy.vae, facts[-1].with_suffix(".tar"), facts[-1]), record)
    write_manifest(latents, facts, toy.vae, folder / "latents" / "manifest.json")
    for name in ("vae.json", "autoencoder"):
        (folder / name).symlink_to(toy.folder / name)
    settings = toy.settings.with_recipe(horizontal_flip=mirrored).model_copy(update={"latents": latents})
    return Toy(settings, folder)


def test_shards_that_were_exported_and_imported_are_those_encoded(toy: Toy, tmp_path: Path) -> None:
    """Byte for byte, statistics included: split, names and labels come from the study."""
    again = with_imported(toy, tmp_path, lambda folder: shutil.copytree(toy.manifest.parent, folder), mirrored=True)
    ours, theirs = (read_manifest(manifest) for manifest in (toy.manifest, again.manifest))
    assert theirs.content == ours.content
    assert theirs.splits["train"].channel_std == pytest.approx(ours.splits["train"].channel_std)
    assert (theirs.imported and theirs.imported.layout, ours.imported) == ("webdataset", None)
    assert "imported" not in json.loads(toy.manifest.read_text())
    assert [check for check in again.check("stored latents", "batches") if not check.passed] == []


LAYOUTS: dict[str, tuple[Callable[[Path, ForeignSet, float], object], bool, dict[str, Any]]] = {
    "fast-dit": (lambda folder, own, scale: write_fast_dit(folder, own.moments, own.labels, scale), False, {}),
    "repa": (lambda folder, own, _: write_repa(folder, own.moments, own.labels), False, {}),
    "lightningdit": (lambda folder, own, _: write_lightningdit(folder, own.moments, own.labels, 4), True, {}),
    "webdataset": (
        lambda folder, own, scale: write_tars(folder, own.moments, own.labels, own.keys_in_tars, scale),
        False,
        {"holds": "latent"},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_imported_latents_pass_as_if_they_were_ours(toy: Toy, own: ForeignSet, tmp_path: Path, layout: str) -> None:
    write, mirrored, how = LAYOUTS[layout]
    scale = read_manifest(toy.manifest).scale
    scaled = {"multiplied_by": scale} if layout in ("fast-dit", "webdataset") else {}
    stored = own if layout == "repa" else own.drawn()
    study = with_imported(toy, tmp_path, lambda folder: write(folder, stored, scale), mirrored, **how, **scaled)
    checks = study.check("stored latents", "label histogram", "batches")
    assert [check for check in checks if not check.passed] == []
    assert ("mirrored moments" in {check.name for check in checks}) == mirrored
    reader = LatentReader(study.manifest, "train")
    assert reader.sources == LatentReader(toy.manifest, "train").sources
    rows = [stored.keys.index(name) for name in reader.sources]
    expected, found = stored.moments[rows, 0], reader.moments(np.arange(len(reader)))[:, 0]
    if layout == "fast-dit":
        expected = np.array([stored.moments[row, row % 2] for row in rows])
    kept = slice(None) if layout == "repa" else slice(4)
    np.testing.assert_array_equal(found[:, kept], expected[:, kept])


def exchanged(own: ForeignSet, order: NDArray[np.int64]) -> ForeignSet:
    return replace(own, moments=own.moments[order])


def of_class_neighbours(own: ForeignSet) -> ForeignSet:
    """Every latent under the name of another image of its class: no label tells."""
    order = np.arange(len(own.labels))
    for label in range(CLASSES):
        order[own.labels == label] = np.roll(order[own.labels == label], 1)
    return exchanged(own, order)


def channels_turned(own: ForeignSet) -> ForeignSet:
    mean, log_variance = np.split(own.moments, 2, axis=2)
    return replace(own, moments=np.concatenate([mean[:, :, ::-1], log_variance[:, :, ::-1]], axis=2))


def rows_and_columns_exchanged(own: ForeignSet) -> ForeignSet:
    return replace(own, moments=own.moments.swapaxes(3, 4).copy())


def same_for_the_mirror(own: ForeignSet) -> ForeignSet:
    return replace(own, moments=np.repeat(own.moments[:, :1], 2, axis=1))


def as_it_is(own: ForeignSet) -> ForeignSet:
    return own


IMPORTED_FAULTS: dict[str, tuple[str, Callable[[ForeignSet], ForeignSet], dict[str, Any], str]] = {
    "scale divided out twice": ("repa", as_it_is, {"multiplied_by": 0.5}, "scale of imported latents"),
    "scale not divided out": ("webdataset", as_it_is, {"multiplied_by": 1.0}, "scale of imported latents"),
    "deviations taken for log-variances": ("repa", as_it_is, {"holds": "mean-logvar"}, "posterior of imported latents"),
    "images of a class exchanged": ("repa", of_class_neighbours, {}, "latents belong to images"),
    "channels in another order": ("repa", channels_turned, {}, "latents belong to images"),
    "rows for columns": ("lightningdit", rows_and_columns_exchanged, {}, "latents belong to images"),
    "no mirrors where they are said to be": ("lightningdit", same_for_the_mirror, {}, "mirrored moments"),
}


@pytest.mark.parametrize("fault", IMPORTED_FAULTS)
def test_a_fault_of_imported_latents_is_caught_by_name(toy: Toy, own: ForeignSet, tmp_path: Path, fault: str) -> None:
    layout, damage, change, name = IMPORTED_FAULTS[fault]
    write, mirrored, how = LAYOUTS[layout]
    damaged = damage(own)
    study = with_imported(toy, tmp_path, lambda folder: write(folder, damaged, 0.5), mirrored, **how | change)
    failed = [check.name for check in study.check("stored latents") if not check.passed]
    assert failed
    assert failed[0] == name


def test_shuffled_labels_are_caught_before_any_shard_is_written(toy: Toy, own: ForeignSet, tmp_path: Path) -> None:
    shuffled = np.random.default_rng(0).permutation(own.labels)
    with pytest.raises(UserError, match="labels are not those of their images"):
        with_imported(toy, tmp_path, lambda folder: write_repa(folder, own.moments, shuffled))
    assert not (tmp_path / "latents").exists()


# --- compiled training


def compiled_check(toy: Toy, precision: str = "float32") -> Check:
    """The check of a study that compiles."""
    reader, probe = LatentReader(toy.manifest, "train"), probe_settings(toy.settings)
    diffusion = create_diffusion(toy.settings.diffusion)
    return check_compiled(diffusion, reader, probe, precision, CPU)[0]


def test_a_study_that_compiles_is_checked_for_it(toy: Toy) -> None:
    compiling = replace(toy, settings=toy.settings.with_recipe(compile=True))
    found = [set(stage.list_groups(a.settings, a.vae, a.manifest, a.folder, CPU)) for a in (toy, compiling)]
    assert found[1] - found[0] == ({"compiled training"} if compiler_found() else set())


def test_a_compiler_that_changes_nothing_passes_and_one_that_breaks_a_layer_fails(toy: Toy, monkeypatch: Patch) -> None:
    monkeypatch.setattr(compiled_checks, "STEPS", 40)
    monkeypatch.setattr(compiled_checks, "LAST", 10)
    monkeypatch.setattr(step_module, "compiled", lambda model: model)
    assert compiled_check(toy).value == "0"

    def worse(model: DiT) -> DiT:
        coarse = 0.5  # what is stored between its numbers is lost, as in a float of few bits
        model.final_layer.linear.register_forward_hook(
            lambda _module, _inputs, output: output + (coarse * (output / coarse).round() - output).detach()
        )
        return model

    monkeypatch.setattr(step_module, "compiled", worse)
    check = compiled_check(toy)
    assert not check.passed
    assert "training.compile" in check.meaning


@pytest.mark.slow
@pytest.mark.skipif(not compiler_found(), reason="no C++ compiler on this machine")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_compiler_of_this_torch_passes(toy: Toy, precision: str) -> None:
    assert compiled_check(toy, precision).passed
