"""The DiT scaling study: images -> VAE -> latents -> one training job per variant -> samples -> FID -> verdicts."""


include: "rules/common.smk"
include: "rules/latents.smk"
include: "rules/train.smk"
include: "rules/sample.smk"
include: "rules/fid.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        "<results>/report.html",
