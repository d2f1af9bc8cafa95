"""One optimiser step: what takes a variant's weights from ``step`` to ``step + 1``."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from dit_scaling.config.recipe import Recipe
from dit_scaling.diffusion.base import Process
from dit_scaling.models import DiT, Network
from dit_scaling.models.compiling import compiled
from dit_scaling.models.mup import rate_of
from dit_scaling.training.bands import BandLosses
from dit_scaling.training.batches import Batch
from dit_scaling.training.ema import ema_decay_at, update_ema
from dit_scaling.training.flat import FlatParameters
from dit_scaling.training.ranks import ALONE, Ranks


class TrainingStep:
    """The objective's loss, AdamW at a constant rate after a linear warm-up, EMA of the weights (section 4).

    Attributes:
        weights: (n,) all trained weights; the model's parameters are views of it.
        ema: (n,) their moving average.
        exp_avg, exp_avg_sq: (n,) AdamW's moments.
        bands: takes the loss of every sample of this rank's share, where someone asks for it by bands of timesteps.
    """

    def __init__(self, model: Network, recipe: Recipe, diffusion: Process, ranks: Ranks = ALONE) -> None:
        """``model`` on its device."""
        self._recipe, self._diffusion, self._ranks = recipe, diffusion, ranks
        self._flat = FlatParameters(model)
        self._network = ranks.replicate(compiled(model) if recipe.compile else model)
        self.weights = self._flat.weights
        self.ema = self.weights.clone()
        self.exp_avg, self.exp_avg_sq = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self._optimiser = torch.optim.AdamW(
            [self.weights], recipe.learning_rate, recipe.betas, weight_decay=recipe.weight_decay, fused=True
        )
        self.bands: BandLosses | None = None
        self._rates = self._multipliers(model)
        self.start_at(0)

    @property
    def learning_rate(self) -> float:
        """Of the last step; before the first, the recipe's."""
        return float(self._optimiser.param_groups[0]["lr"])

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What a later process needs to resume from here, apart from the number of the step."""
        return {"weights": self.weights, "ema": self.ema, "exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}

    def start_at(self, step: int) -> None:
        """Say how many steps lie behind the tensors."""
        self._optimiser.state[self.weights] = {
            "step": torch.tensor(float(step), device=self.weights.device),
            "exp_avg": self.exp_avg,
            "exp_avg_sq": self.exp_avg_sq,
        }

    def _multipliers(self, model: Network) -> Tensor | None:
        """What each weight's learning rate is multiplied by (n,); None where all have one."""
        if self._recipe.parametrisation == "standard" or not isinstance(model, DiT):
            return None
        rates, base = torch.empty_like(self.weights), self._recipe.mup_base_width
        for name, part in self._flat.named(rates).items():
            part.fill_(rate_of(name, model.variant.hidden_size, base))
        return rates

    def _update(self) -> None:
        """AdamW's step: as it is in proportion to the rate, a weight of another rate goes that part of the way."""
        if self._rates is None:
            self._optimiser.step()
            return
        before = self.weights.clone()
        self._optimiser.step()
        torch.lerp(before, self.weights, self._rates, out=self.weights)

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """One of the tensors, (n,), by parameter name."""
        return self._flat.named(flat)

    def __call__(self, step: int, parts: Sequence[Batch]) -> Tensor:
        """Take the weights from ``step`` to ``step + 1``.

        Args:
            step: from 0.
            parts: this rank's share of the batch, cut into parts of which one fits the memory at a time.

        Returns:
            (4,) means over the share of loss, mse and vb, and the norm of the gradient before it is clipped.
        """
        recipe, device = self._recipe, self.weights.device
        share = sum(len(part.t) for part in parts)
        means = torch.zeros(3, device=device)
        for number, part in enumerate(parts, start=1):
            weight = len(part.t) / share
            with self._ranks.adding_up(self._network, last=number == len(parts)):
                with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                    losses = self._diffusion.training_losses(self._network, part.x0, part.t, part.y, part.noise)
                torch.autograd.backward(weight * losses["loss"].mean())
            if self.bands is not None:
                self.bands.add(part.t, losses["loss"])
            means += weight * torch.stack([losses[name].detach().mean() for name in ("loss", "mse", "vb")])
        self._flat.take_gradients()
        norm = get_total_norm([self._flat.gradient])
        if recipe.gradient_clip is not None:
            clip_grads_with_norm_(self.weights, recipe.gradient_clip, norm)
        for group in self._optimiser.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, (step + 1) / max(1, recipe.warmup_steps))
        self._update()
        update_ema(self.ema, self.weights, ema_decay_at(step + 1, recipe.ema_decay, recipe.ema_ramp))
        return torch.cat([means, norm[None]])
