"""Names of the columns that losses add to a study's table, and what they cost. Without torch, for commands."""

import itertools

HEADLINE = "held_out_mse"
"""Mean squared error of the noise over all timesteps, of the EMA weights on held-out images."""
TRAINING = "training_mse"
"""The same on training images."""
RAW_PREFIX = "raw_"
"""Before the names of all losses on held-out images, of the weights as they were trained, not averaged."""
RAW = f"{RAW_PREFIX}{HEADLINE}"
"""The headline of these."""
ABOVE = "held_out_mse_above"
"""The headline less that of the best variant of the same seed and step; its error is paired over images."""
BANDS = (0.0, 0.1, 0.3, 0.6, 1.0)
"""Limits of the bands of timesteps, as shares of all; half of the error lies in the first."""
BAND_COLUMNS = tuple(f"{HEADLINE}_{100 * low:.0f}_{100 * high:.0f}" for low, high in itertools.pairwise(BANDS))
"""The headline by bands of timesteps, from and to so many percent of all."""
BATCH = 64
"""Images of which a network sees one draw at a time."""
EMA_SETS, SETS = 2, 3
"""What losses of an export are measured on: EMA weights on both splits, and with raw ones on held-out images too."""
