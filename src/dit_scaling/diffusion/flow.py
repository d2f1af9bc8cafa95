"""Flow matching on the linear path from noise to data: SiT, arXiv 2401.08740, and its published convention.

Time runs from 0, noise, to 1, data, and is fed to networks as it is: x_t = t x_0 + (1 - t) eps. Networks predict the
velocity x_0 - eps in the first half of their channels; the other half, which DiT's variance has, gets no gradient.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dit_scaling.common.devices import send
from dit_scaling.diffusion.base import Level, Process
from dit_scaling.diffusion.denoiser import Prediction
from dit_scaling.diffusion.process import FlowSettings
from dit_scaling.diffusion.walk import Way

PIXELS = (1, 2, 3)  # all dimensions but the batch
QUANTILES = 1000


class Times(Way):
    """The times that a sampler visits, the least noisy first; a flow needs no coefficients."""

    def __init__(self, times: Sequence[float]) -> None:
        self.timesteps = torch.tensor(times, dtype=torch.float64)


class FlowMatching(Process):
    """The linear path; made by `create_diffusion`."""

    def __init__(self, settings: FlowSettings) -> None:
        self.settings: FlowSettings = settings

    def draw_times(self, count: int, rng: torch.Generator | None = None) -> Tensor:
        """Uniform in [0, 1), or the logistic function of standard normal draws (arXiv 2403.03206): (count,) float32."""
        if self.settings.times == "uniform":
            return torch.rand(count, generator=rng)
        return torch.randn(count, generator=rng).sigmoid()

    @property
    def training_times(self) -> Tensor:
        """The middles of equally likely stretches of time (1000,) float64."""
        uniform = (torch.arange(QUANTILES, dtype=torch.float64) + 0.5) / QUANTILES
        return uniform if self.settings.times == "uniform" else torch.special.ndtri(uniform).sigmoid()

    def time_at(self, share: float) -> float:
        return 1 - share

    def share_of(self, time: float) -> float:
        return 1 - time

    def level(self, t: Tensor) -> Level:
        t = t.double().cpu()
        one = torch.ones_like(t)
        return Level(signal=t, noise=1 - t, of_data=one, of_noise=-one)

    def visiting(self, times: Sequence[float]) -> Times:
        return Times(times)

    def training_losses(
        self, model: Prediction, x0: Tensor, t: Tensor, y: Tensor, noise: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Mean squared error of the velocity; ``vb`` is zero."""
        noise = torch.randn_like(x0) if noise is None else noise
        t = send(t, x0.device)
        x_t = torch.lerp(noise, x0, t.view(-1, 1, 1, 1).to(x0.dtype))
        velocity = model(x_t, t, y)[:, : x0.shape[1]]
        mse = (velocity - (x0 - noise)).square().mean(dim=PIXELS)
        return {"loss": mse, "mse": mse, "vb": torch.zeros_like(mse)}
