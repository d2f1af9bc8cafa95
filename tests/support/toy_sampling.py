"""How tests sample the toy latents of three classes; each changes what it is about."""

from dit_scaling.config.stages import SampleSettings

TOY_SAMPLING = SampleSettings(
    num_samples=11,
    parts=1,
    sampler="ddpm",
    steps=4,
    guidance_scale=1.0,
    guidance_channels=3,
    labels="balanced",
    seed=0,
    num_classes=3,
    image_channels=1,
    checkpoint="toy",
)
