"""Gaussian diffusion: its process, its training loss, and tables of schedules and samplers, the paper's among them."""
