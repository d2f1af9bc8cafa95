"""Class accuracy: whether images are recognised as what they were made for."""

from dit_scaling.metrics.comparison import Comparison, Measure


def _measure(comparison: Comparison) -> dict[str, float]:
    """The share of images that the classifier gives the label they were made for."""
    classes, labels = comparison.samples.classes, comparison.samples.labels
    assert classes is not None
    assert labels is not None
    return {"class_accuracy": float((classes == labels).mean())}


CLASS_ACCURACY = Measure(_measure, frozenset({"classes"}), lambda sizes: float(sizes.images))
