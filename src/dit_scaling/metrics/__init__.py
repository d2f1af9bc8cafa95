"""Distances between real and generated images, computed on features. No torch here: numpy and scipy only.

Every number below belongs to the features it was computed on. It may be called FID only on the Inception network's
2048 pooled features; a record of a result names its features, resize, quantiser and number of images.
"""

from dit_scaling.metrics.distances import frechet_distance, kernel_distance
from dit_scaling.metrics.scores import inception_score, precision_recall

__all__ = ["frechet_distance", "inception_score", "kernel_distance", "precision_recall"]
