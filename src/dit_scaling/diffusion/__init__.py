"""Gaussian diffusion as the paper uses it: hybrid loss, learned variance, respaced ancestral sampling."""

from dit_scaling.diffusion.gaussian import GaussianDiffusion

__all__ = ["GaussianDiffusion"]
