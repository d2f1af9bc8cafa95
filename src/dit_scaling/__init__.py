"""Scaling studies of latent diffusion transformers (DiT, arXiv 2212.09748).

The packages: ``common`` (files, errors, devices), ``diffusion`` (the process, its schedules and samplers), ``variants``
(sizes, parameters, Gflops), ``config`` (what a study is, and the settings of its stages); then in the order in which
data walks through them ``data``, ``latents``, ``models``, ``training``, ``sampling``, ``metrics``; then what is made of
the numbers: ``paper`` (published figures, deviations from its protocol), ``claims`` (verdicts), ``health`` (preflight,
gates, diagnose), ``plan`` (costs), ``results`` (tables, status), ``report``. A package imports from those before it,
never from those after it. Nothing here knows of Snakemake, but for what ``results`` sees to before and around its runs.
"""
