"""Config section ``metrics``: the features on which images are compared, and what is computed from them."""

from typing import Annotated, Literal

from pydantic import Field

from dit_scaling.common.section import Before, Count, PositiveFloat, Section


class ClassifierExtractor(Section):
    """A small convolutional network trained on the study's training images; penultimate layer as features."""

    kind: Literal["classifier"]
    feature_dim: Count = 64
    steps: Annotated[int, Field(ge=3)]
    batch_size: Count = 128
    learning_rate: PositiveFloat = 2.0e-3


class GivenNetwork(Section):
    """A feature network from a file, and the statistics of real images to compare with."""

    weights: str
    """Path of the network's file, or its name in resources.cache."""
    reference: str | None = None
    """Path of an npz with mu and sigma of these features, or its name in resources.cache; null: the training images."""

    @property
    def files(self) -> tuple[str, ...]:
        """The files it names."""
        return (self.weights,) if self.reference is None else (self.weights, self.reference)


class InceptionExtractor(GivenNetwork):
    """The FID's Inception-v3 as ADM's suite uses it, resizing inside: FID, sFID, IS, precision and recall.

    ADM's reference npz (VIRTUAL_imagenet256_labeled.npz) is used as it is, with mu_s, sigma_s and its images arr_0.
    """

    kind: Literal["inception"]
    weights: str = "inception-2015-12-05.pt"
    """Path of clean-fid's TorchScript file, or its name in resources.cache."""
    feature_dim: Literal[2048] = 2048


class CleanExtractor(GivenNetwork):
    """The same Inception-v3 after clean-fid's own resizing (Pillow, bicubic, not rounded): clean-FID."""

    kind: Literal["clean"]
    weights: str = "inception-2015-12-05.pt"
    """Path of clean-fid's TorchScript file, or its name in resources.cache."""
    feature_dim: Literal[2048] = 2048


class Dinov2Extractor(GivenNetwork):
    """DINOv2 ViT-L/14 as dgm-eval and EDM2 use it: Pillow, bicubic, 224 x 224; class token after the last norm."""

    kind: Literal["dinov2"]
    weights: str = "dinov2_vitl14_pretrain.pth"
    """Path of Facebook's file, or its name in resources.cache."""
    feature_dim: Literal[1024] = 1024


GivenExtractor = InceptionExtractor | CleanExtractor | Dinov2Extractor
AnyExtractor = Annotated[ClassifierExtractor | GivenExtractor, Field(discriminator="kind")]
HeadlineExtractor = Annotated[ClassifierExtractor | InceptionExtractor | Dinov2Extractor, Field(discriminator="kind")]


class Metrics(Section):
    """How samples are scored against the training images."""

    extractor: HeadlineExtractor
    """The features behind the headline distance, on which the verdicts rest."""
    beside: tuple[AnyExtractor, ...] = ()
    """Further features; each adds columns under its own name to the table."""
    kid_subsets: Count = 100
    kid_subset_size: Annotated[int, Field(ge=2)] = 1000
    neighbours: Count = 3
    """k of precision and recall."""
    bootstrap: Annotated[int, Field(ge=10)] = 100
    """Resamples of the generated images behind the standard error of the Frechet distance."""
    loss_images: Annotated[int, Field(ge=2), Before(500)] = 500
    """Held-out images of the held-out loss, or all where there are fewer; and as many of the training images."""
    loss_draws: Annotated[Count, Before(5)] = 5
    """Timesteps at which each of them is noised, stratified over all."""

    @property
    def extractors(self) -> tuple[ClassifierExtractor | GivenExtractor, ...]:
        """All of them, the headline's first."""
        return (self.extractor, *self.beside)

    def given(self, kind: str) -> GivenNetwork | None:
        """The given network of that kind; None for the study's own classifier."""
        found = next(extractor for extractor in self.extractors if extractor.kind == kind)
        return found if isinstance(found, GivenNetwork) else None
