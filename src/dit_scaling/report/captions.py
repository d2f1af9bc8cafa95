"""The figures of a study: their names, titles and captions. Light, so that the Snakefile can ask for the names."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Caption:
    """What stands over and under a figure."""

    title: str
    text: str


FIGURES: Mapping[str, Caption] = {
    "fid-gflops": Caption(
        "Distance against Gflops",
        "Each variant at the last step, one line per size. Bars are 95% intervals; the grey curve is a power law "
        "fitted to the variants drawn, with the 95% band of the curve. As the paper's figure 8.",
    ),
    "fid-params": Caption(
        "Distance against parameters",
        "The same points against the number of weights, on the same vertical scale: variants of one size stand above "
        "each other.",
    ),
    "bubbles": Caption(
        "Sizes and patches",
        "Each variant at the last step; the area of a bubble is proportional to Gflops, the number above it is the "
        "patch. The only figure with floors and ceiling to scale. As the paper's figure 2.",
    ),
    "fid-compute": Caption(
        "Distance against training compute",
        "Gflops x images seen x 3, at every exported step. The power law is fitted to the last step of each variant "
        "and continued by a factor of ten; what is dotted is extrapolated. As the paper's figure 9.",
    ),
    "fid-steps": Caption(
        "Distance against training steps",
        "Above: one patch a panel, every size. Below: one size a panel, every patch. As the paper's figure 6.",
    ),
    "loss": Caption(
        "Training loss and gradient norm",
        "Means over equal stretches of each run and over its seeds. As the paper's figure 13.",
    ),
}
"""Caption by name, in the order of the report."""
