"""A trained DiT as a folder of ``diffusers.DiTPipeline``: transformer, autoencoder and a DDIM scheduler.

``DiTPipeline.from_pretrained`` loads the folder as it is. Two facts of the pipeline stand in no file: diffusers'
timestep frequencies, 10000^(-i/127) where the paper's code has 10000^(-i/128), and the null class, which is 1000
whatever the number of classes. ``load_pipeline`` corrects both.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_folder
from dit_scaling.common.words import count
from dit_scaling.diffusion.gaussian import GaussianDiffusion
from dit_scaling.diffusion.process import DiffusionSettings, create_diffusion
from dit_scaling.diffusion.schedule import SCHEDULES
from dit_scaling.latents.autoencoder import load_any_vae
from dit_scaling.models.checkpoints import CheckpointHeader, has_null_class, load_checkpoint
from dit_scaling.models.diffusers_names import to_diffusers_state
from dit_scaling.models.dit import NORM_EPS, DiT
from dit_scaling.models.stored import Weights

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

PIPELINE_NULL_CLASS = 1000  # hard-coded in DiTPipeline.__call__


def export_pipeline(
    checkpoint: Path,
    folder: Path,
    vae: str,
    class_names: Sequence[str] = (),
    weights: Weights = "ema",
    num_classes: int | None = None,
    card: Callable[[CheckpointHeader], str] | None = None,
) -> None:
    """Write a checkpoint and its autoencoder as a folder that ``DiTPipeline.from_pretrained`` loads offline.

    Args:
        checkpoint: a file that ``load_model`` reads.
        folder: to make; it may exist if it is empty.
        vae: a study's vae.json, a folder with an AutoencoderKL, or a hub id.
        class_names: in the order of the labels, for ``pipeline.labels``; none where they are not known.
        weights: which of a training checkpoint's.
        num_classes: without the null class, where the checkpoint leaves it open (``load_model``).
        card: makes the folder's README.md of what the checkpoint says of itself.

    Raises:
        UserError: a file cannot be read, the model is no transformer, has no null class or does not fit the
            autoencoder or the names, or ``folder`` holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already. Delete it or choose another folder.")
    model, header = load_checkpoint(checkpoint, weights, num_classes)
    if not isinstance(model, DiT):
        raise UserError(f"{checkpoint} is {model.variant.name}: DiTPipeline samples transformers only.")
    if not isinstance(header.diffusion, DiffusionSettings):
        raise UserError(
            f"{checkpoint} was trained with objective {header.diffusion.objective}, but DiTPipeline samples networks "
            "of objective ddpm only."
        )
    if not has_null_class(model):
        raise UserError(f"{checkpoint} has no null class, with which DiTPipeline guides.")
    if class_names and len(class_names) != model.num_classes:
        raise UserError(
            f"{checkpoint} knows {count(model.num_classes, 'class')}, but the class names given for it number "
            f"{len(class_names)}."
        )
    pipeline = build_pipeline(model, load_any_vae(vae), create_diffusion(header.diffusion))
    pipeline.register_to_config(id2label=dict(enumerate(class_names)) or None)
    with atomic_folder(folder) as temporary:
        pipeline.save_pretrained(temporary)
        if card is not None:
            (temporary / "README.md").write_text(card(header), encoding="utf-8")


def load_pipeline(folder: Path | str) -> "DiTPipeline":
    """The pipeline of an exported folder, with the paper's timestep frequencies and the model's own null class.

    It samples what sampler "ddim" of the same process samples with ``guidance_channels=None``, as the pipeline guides
    all channels: equal initial latents give equal images.

    Raises:
        UserError: the folder holds no such pipeline, or its model has more than 1000 classes, one of which the pipeline
            takes for the null class.
    """
    from diffusers import DiTPipeline
    from diffusers.models.embeddings import Timesteps

    if not Path(folder, "model_index.json").is_file():
        raise UserError(f"{folder} holds no exported pipeline (model_index.json). Make it with dit-scaling export.")
    try:
        pipeline: DiTPipeline = DiTPipeline.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # every library behind it raises its own kinds for a broken file
        raise UserError(f"{folder} cannot be loaded ({str(error).partition(chr(10))[0]}). Export it again.") from None
    num_classes = pipeline.transformer.config.num_embeds_ada_norm
    if num_classes > PIPELINE_NULL_CLASS:
        raise UserError(
            f"{folder}: DiTPipeline takes label {PIPELINE_NULL_CLASS}, one of the model's {num_classes} classes, for "
            "the null class. Sample it with dit_scaling's own sampler, ddim."
        )
    for module in pipeline.transformer.modules():
        if isinstance(module, Timesteps):
            module.downscale_freq_shift = 0

    def use_own_null_class(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        labels = kwargs["class_labels"]
        return args, kwargs | {"class_labels": labels.masked_fill(labels == PIPELINE_NULL_CLASS, num_classes)}

    pipeline.transformer.register_forward_pre_hook(use_own_null_class, with_kwargs=True)
    return pipeline


def build_pipeline(model: DiT, vae: "AutoencoderKL", diffusion: GaussianDiffusion) -> "DiTPipeline":
    """The pipeline of a model, its autoencoder and its process, sampled by DDIM, x0 not clipped.

    Raises:
        UserError: the autoencoder has other channels than the model.
    """
    from diffusers import DiTPipeline

    if vae.config.latent_channels != model.in_channels:
        raise UserError(
            f"the model denoises latents of {model.in_channels} channels, but the autoencoder's have "
            f"{vae.config.latent_channels}. Give the one it was trained with: --vae."
        )
    transformer = build_transformer(model)
    transformer.load_state_dict(to_diffusers_state(model.state_dict(), model.variant.depth))
    return DiTPipeline(transformer, vae, build_scheduler(diffusion))


def build_scheduler(diffusion: GaussianDiffusion) -> "DDIMScheduler":
    """diffusers' DDIM over the betas of a process, whose latents are not clipped."""
    from diffusers import DDIMScheduler

    to_diffusers = SCHEDULES[diffusion.settings.schedule].diffusers
    total = diffusion.num_timesteps
    return DDIMScheduler(
        num_train_timesteps=total,
        prediction_type=diffusion.settings.prediction,
        clip_sample=False,
        **(to_diffusers(total) if to_diffusers else {"trained_betas": diffusion.betas.tolist()}),
    )


def build_transformer(model: DiT) -> "DiTTransformer2DModel":
    """diffusers' transformer in the proportions of ``model``, in evaluation mode, with weights of its own."""
    from diffusers import DiTTransformer2DModel

    return DiTTransformer2DModel(
        num_attention_heads=model.variant.num_heads,
        attention_head_dim=model.variant.hidden_size // model.variant.num_heads,
        in_channels=model.in_channels,
        out_channels=2 * model.in_channels,
        num_layers=model.variant.depth,
        sample_size=model.input_size,
        patch_size=model.variant.patch,
        num_embeds_ada_norm=model.num_classes,
        norm_eps=NORM_EPS,
    ).eval()
