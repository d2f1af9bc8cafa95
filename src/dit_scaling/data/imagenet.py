"""What the number of images says: ImageNet-1K's training set, that set with validation images in it, or another."""

from dataclasses import dataclass

CLASSES = 1000
TRAINING = 1_281_167
VALIDATION = 50_000


@dataclass(frozen=True)
class CountFinding:
    """A count beside ImageNet-1K's."""

    sentence: str
    leak: bool
    """Whether validation images are among the training images."""


def compare_count(images: int, classes: int) -> CountFinding | None:
    """Compare a source with ImageNet-1K; None where there is nothing to compare.

    Args:
        images: number of images of the source, training and held-out.
        classes: its number of classes. Every count with ImageNet's 1,000 is compared; the sum of its training and
            validation images with any number of classes.
    """
    if images == TRAINING + VALIDATION:
        return CountFinding(
            f"{images:,} images are ImageNet-1K's training set ({TRAINING:,}) together with its validation set "
            f"({VALIDATION:,}): validation images leak into training, and distances to them would mean nothing. Point "
            "data.path at the training set alone",
            leak=True,
        )
    if classes != CLASSES:
        return None
    if images == TRAINING:
        return CountFinding(f"{images:,} images are ImageNet-1K's training set, whole", leak=False)
    difference = abs(images - TRAINING)
    relation = "fewer" if images < TRAINING else "more"
    validation = "; they are as many as its validation set" if images == VALIDATION else ""
    return CountFinding(
        f"{images:,} images in {classes:,} classes are {difference:,} {relation} than ImageNet-1K's training set "
        f"({TRAINING:,}){validation}",
        leak=False,
    )
