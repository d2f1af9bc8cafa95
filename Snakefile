"""The DiT scaling study: images -> VAE -> latents -> one training job per variant -> samples -> FID -> verdicts."""


include: "rules/common.smk"
include: "rules/settings.smk"
include: "rules/inputs.smk"
include: "rules/rerun.smk"
include: "rules/fetch.smk"
include: "rules/data.smk"
include: "rules/vae.smk"
include: "rules/latents.smk"
include: "rules/preflight.smk"
include: "rules/train.smk"
include: "rules/gates.smk"
include: "rules/losses.smk"
include: "rules/sample.smk"
include: "rules/features.smk"
include: "rules/score.smk"
include: "rules/report.smk"
include: "rules/run.smk"


report: "workflow/report/workflow.rst"


# Seconds of work on small files: never sent to a cluster.
localrules:
    all,
    data,
    latents,
    loss_table,
    aggregate,
    figures,
    report,


rule all:
    default_target: True
    input:
        "<results>/losses.csv" if STUDY.laws else "<results>/report.html",
