"""What training a transformer keeps in a device's memory, in closed form, and how many samples at a time fit it."""

from dataclasses import dataclass

from dit_scaling.variants.costs import count_parameters
from dit_scaling.variants.names import AnyVariant, Variant

FLOAT32, FLOAT16 = 4, 2
TRAINING_COPIES = 6
"""Weights, EMA and two moments, and the gradient twice: where autograd leaves it, and in one piece for AdamW."""
BLOCK_BYTES = {"float32": 80, "tf32": 80, "bfloat16": 52}
"""Bytes that a block keeps for its backward pass, per token and unit of its width. In float32 of 20 numbers: two norms,
their modulations, two residual sums, the gated outputs of attention and MLP, queries, keys and values, attention's
output, and the MLP's 4 + 4; attention is not stored. In bfloat16 norms, sums and, on a GPU, the gated outputs are
float32 still."""
USABLE = 0.8
"""Share of a device's memory that is planned with: the rest is CUDA's own, fragments, and the error of the estimate."""


@dataclass(frozen=True)
class TrainingMemory:
    """One rank's training of a variant."""

    variant: AnyVariant
    input_size: int
    in_channels: int
    num_classes: int
    precision: str
    share: int
    """Samples of a step that the rank computes."""
    ranks: int

    def needed(self, held: int) -> float | None:
        """Bytes where the activations of ``held`` samples are kept at a time; None for a U-Net, which has no formula.

        Weights, EMA, AdamW's moments and the gradient, twice, in float32; once more what the parts of a step add up to
        before ranks share it; what blocks keep (``BLOCK_BYTES``), and in bfloat16 the copy of the weights that they
        compute with. An estimate, of networks that are not compiled.
        """
        if not isinstance(self.variant, Variant):
            return None
        parameters = count_parameters(self.variant, self.num_classes, self.in_channels, input_size=self.input_size)
        copies = TRAINING_COPIES + (self.ranks > 1 and held < self.share)
        per_parameter = FLOAT32 * copies + (FLOAT16 if self.precision == "bfloat16" else 0)
        tokens = (self.input_size // self.variant.patch) ** 2
        kept = tokens * self.variant.depth * self.variant.hidden_size * BLOCK_BYTES[self.precision]
        return per_parameter * parameters + held * kept

    def micro_batch(self, asked: int | str, memory: float | None) -> int:
        """Samples whose activations are kept at a time.

        Args:
            asked: ``resources.micro_batch``. With ``auto`` the largest equal parts of the share that fit the memory,
                single samples where nothing does; 0 is the whole share.
            memory: bytes of the device; None for a CPU, or where it is not known: ``auto`` is the whole share then.
        """
        if isinstance(asked, int):
            return min(self.share, asked or self.share)
        if memory is None or self.needed(1) is None:
            return self.share
        equal = [self.share // parts for parts in range(1, self.share + 1) if self.share % parts == 0]
        return next((held for held in equal if (self.needed(held) or 0.0) <= USABLE * memory), 1)
