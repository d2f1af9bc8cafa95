"""How many equal blocks samples are cut into where a distance is extrapolated to infinitely many."""

BLOCKS = (10, 8, 6, 4)
"""The first number that leaves each block large enough is taken; 10 gives the publication's range, 5,000 to 50,000."""
IMAGES_PER_FEATURE = 2
"""Images in a block, at least, for each dimension of the features: with fewer the distance bends away from the line."""


def choose_blocks(images: int, dim: int) -> int | None:
    """How many blocks so many images of ``dim`` features are cut into; None where they are too few to extrapolate."""
    return next((blocks for blocks in BLOCKS if images // blocks >= IMAGES_PER_FEATURE * dim), None)


def fewest_images(dim: int) -> int:
    """The fewest images of ``dim`` features that can be extrapolated."""
    return BLOCKS[-1] * IMAGES_PER_FEATURE * dim
