"""Distances between real and generated images, computed on features.

The functions here and all that is in ``catalogue`` need numpy and scipy only; what makes the features (``extractors``,
``extraction``, ``reference``) imports torch and is not imported here.

Every number below belongs to the features it was computed on. It may be called FID only on the Inception network's
2048 pooled features; a record of a result names its features, resize, quantiser and number of images.
"""

from dit_scaling.metrics.density_coverage import density_coverage
from dit_scaling.metrics.frechet import frechet_distance
from dit_scaling.metrics.inception_score import inception_score
from dit_scaling.metrics.kernel import kernel_distance
from dit_scaling.metrics.precision_recall import precision_recall

__all__ = ["density_coverage", "frechet_distance", "inception_score", "kernel_distance", "precision_recall"]
