"""The timesteps that a sampler with fewer steps visits, ascending, as plain numbers: a config is checked with them."""

from dit_scaling.common.errors import UserError

STARTS_IN_NOISE = 0.75
"""Share of the timesteps that a sampler has to start at: there linear betas leave 6% of an image's amplitude."""


def spaced_timesteps(num_timesteps: int, num_steps: int) -> tuple[int, ...]:
    """Evenly spaced timesteps with both ends, as the paper samples: 250 of 1000 are 0, 4, 8, ..., 995, 999.

    Raises:
        UserError: ``num_steps`` is not in [2, num_timesteps].
    """
    _check_steps(num_timesteps, num_steps)
    stride = (num_timesteps - 1) / (num_steps - 1)
    return tuple(round(step * stride) for step in range(num_steps))


def upper_timesteps(num_timesteps: int, num_steps: int) -> tuple[int, ...]:
    """As many evenly spaced timesteps above 0 with the last: 4 of 1000 are 250, 500, 749, 999.

    Raises:
        UserError: ``num_steps`` is not in [2, num_timesteps - 1].
    """
    _check_steps(num_timesteps, num_steps, num_timesteps - 1)
    stride = (num_timesteps - 1) / num_steps
    return tuple(round(step * stride) for step in range(1, num_steps + 1))


def strided_timesteps(num_timesteps: int, num_steps: int) -> tuple[int, ...]:
    """Timesteps 0, k, 2k, ... with k = num_timesteps // num_steps, as DDIM samples.

    Raises:
        UserError: ``num_steps`` is not in [2, num_timesteps], or the last timestep is so small that the chain would
            begin with noise where training had seen images.
    """
    _check_steps(num_timesteps, num_steps)
    stride = num_timesteps // num_steps
    if (num_steps - 1) * stride < STARTS_IN_NOISE * (num_timesteps - 1):
        raise UserError(
            f"DDIM in {num_steps} steps would start at timestep {(num_steps - 1) * stride} of {num_timesteps}, where a "
            f"part of the image is still there: choose {num_timesteps // (stride + 1)} steps."
        )
    return tuple(step * stride for step in range(num_steps))


def _check_steps(num_timesteps: int, num_steps: int, most: int | None = None) -> None:
    most = num_timesteps if most is None else most
    if not 2 <= num_steps <= most:
        raise UserError(f"cannot sample in {num_steps} steps: choose 2 to {most}; training has {num_timesteps}.")
