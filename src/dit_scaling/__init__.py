"""Scaling studies of latent diffusion transformers (DiT, arXiv 2212.09748).

The rooms, in the order in which data walks through them: ``config``, ``data``, ``latents``, ``models``,
``diffusion``, ``training``, ``sampling``, ``metrics``, ``claims``, ``report``. A room imports from the
rooms before it, never from those after it. Nothing here knows of Snakemake.
"""
