"""muP for DiT: initialisation and learning rates that keep a network of any width as it was at the base width.

arXiv 2505.15270 shows that diffusion transformers follow the rules of plain ones (arXiv 2203.03466, table 3, for Adam).
With m = hidden size / base width, weights whose inputs grow with the width (those of blocks, the timestep MLP's second
layer and the final layer) are drawn with variance 1/m and learn at a rate of 1/m; weights whose inputs do not (patches,
sinusoids, labels), and biases, keep both. Table 3's scale of attention, 1/width of a head, changes nothing where heads
keep their width, as a study has to.
"""

import re

import torch

from dit_scaling.models.dit import DiT

HIDDEN = re.compile(r"(blocks\..+|t_embedder\.mlp\.2|final_layer\..+)\.weight")


def scale_initialisation(model: DiT, base_width: int) -> None:
    """Rescale fresh weights to muP's variances, in place.

    Of DiT's own, Xavier's already falls as 1/m within blocks, and zeros stay zero. Two do not fit: the timestep MLP's
    second layer, whose deviation is 0.02 at every width, and the patch embedding, whose Xavier limit falls with the
    width although its inputs stay the same.
    """
    width = model.variant.hidden_size
    patches = model.x_embedder.proj.weight
    fan_in = patches[0].numel()
    with torch.no_grad():
        model.get_parameter("t_embedder.mlp.2.weight").mul_((base_width / width) ** 0.5)
        patches.mul_(((fan_in + width) / (fan_in + base_width)) ** 0.5)


def rate_of(name: str, width: int, base_width: int) -> float:
    """What the learning rate of a parameter is multiplied by."""
    return base_width / width if HIDDEN.fullmatch(name) else 1.0
