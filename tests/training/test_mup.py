"""muP: rates and initial weights by width, against AdamW with a group per rate, and its coordinate check."""

import pytest
import torch

from dit_scaling.common.errors import UserError
from dit_scaling.config import parse_study
from dit_scaling.config.stages import TrainSettings
from dit_scaling.diffusion.process import PAPER_PROCESS, create_diffusion
from dit_scaling.health.preflight import coordinates
from dit_scaling.models.mup import rate_of
from dit_scaling.training.batches import Batch
from dit_scaling.training.initial import initial_model
from dit_scaling.training.step import TrainingStep
from jobs import CONFIG


def test_rates_are_those_of_adamw_with_a_group_for_each(toy_run: TrainSettings) -> None:
    settings = toy_run.with_recipe(parametrisation="mup", mup_base_width=4, weight_decay=0.1, warmup_steps=0)
    model, reference = initial_model(settings), initial_model(settings)
    step = TrainingStep(model, settings.recipe, create_diffusion(PAPER_PROCESS))
    groups = [
        {"params": [weight], "lr": settings.recipe.learning_rate * rate_of(name, 16, 4)}
        for name, weight in reference.named_parameters()
    ]
    assert {group["lr"] for group in groups} == {2.0e-3, 5.0e-4}
    optimiser = torch.optim.AdamW(groups, betas=settings.recipe.betas, weight_decay=0.1)
    for number in range(3):
        generator = torch.Generator().manual_seed(number)
        x0, noise = torch.randn((2, 4, 2, 8, 8), generator=generator)
        batch = Batch(x0, torch.randint(1000, (4,), generator=generator), torch.zeros(4).long(), noise)
        step(number, [batch])
        optimiser.zero_grad()
        losses = create_diffusion(PAPER_PROCESS).training_losses(reference, x0, batch.t, batch.y, noise)
        losses["loss"].mean().backward()
        optimiser.step()
    for (name, ours), theirs in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4, msg=name)


def test_at_the_base_width_mup_is_the_standard_network(toy_run: TrainSettings) -> None:
    standard = initial_model(toy_run)
    mup = initial_model(toy_run.with_recipe(parametrisation="mup", mup_base_width=16))
    for ours, theirs in zip(mup.parameters(), standard.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_initial_deviations_are_mups(toy_run: TrainSettings) -> None:
    wide = toy_run.model_copy(update={"variant": toy_run.variant.model_copy(update={"hidden_size": 256})})
    state = initial_model(wide.with_recipe(parametrisation="mup", mup_base_width=16)).state_dict()
    assert float(state["t_embedder.mlp.2.weight"].std()) == pytest.approx(0.02 / 4, rel=0.05)
    assert float(state["t_embedder.mlp.0.weight"].std()) == pytest.approx(0.02, rel=0.05)
    assert float(state["x_embedder.proj.weight"].std()) == pytest.approx((2 / (8 + 16)) ** 0.5, rel=0.05)
    assert float(state["blocks.0.attn.proj.weight"].std()) == pytest.approx((2 / (256 + 256)) ** 0.5, rel=0.05)


def test_outputs_grow_with_the_width_without_mup_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinates, "WIDTHS", (32, 64, 128))
    sizes = {
        how: [coordinates.output_size(width, how, PAPER_PROCESS, (2, 8, 8)) for width in coordinates.WIDTHS]
        for how in ("standard", "mup")
    }
    assert coordinates.growth(sizes["standard"]) > 2 * coordinates.LIMIT
    assert abs(coordinates.growth(sizes["mup"])) < coordinates.LIMIT / 2


def test_what_mup_has_no_rules_for_is_refused() -> None:
    mup = {"training": CONFIG["training"] | {"parametrisation": "mup"}}
    unet = {"variants": ["UNet-Tiny"], "unet_sizes": {"Tiny": {"channels": 8, "multipliers": [1, 2], "head_width": 8}}}
    with pytest.raises(UserError, match="mup has rules for DiT only, not for UNet-Tiny"):
        parse_study(CONFIG | mup | unet)
    sizes = {
        "A": {"depth": 1, "hidden_size": 32, "num_heads": 2},
        "C": {"depth": 1, "hidden_size": 64, "num_heads": 2},
    }
    with pytest.raises(UserError, match="heads of one width, but hidden_size / num_heads is 16, 32"):
        parse_study(CONFIG | mup | {"sizes": sizes, "variants": ["DiT-A/2", "DiT-C/2"]})
