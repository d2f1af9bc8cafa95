def kept_weights(file):
    """The exports of a run; those of finished steps that were deleted (`keep.checkpoints`) are not trained for again."""

    def files_of_run(wildcards):
        folders = [
            Path(STEP.format(**wildcards, step=step)) for step in STUDY.exports(STUDY.variant_by_slug(wildcards.variant).name)
        ]
        deleted = [folder for folder in folders if (folder / "provenance.json").exists() and not (folder / file).exists()]
        return [str(folder / file) for folder in folders if folder not in deleted]

    return files_of_run


# All exports of a run in one job, which takes longer to start than to measure small networks.
rule held_out_loss:
    input:
        outdated(f"{RUN}/losses.provenance.json", loss_settings),
        ema=kept_weights("ema.safetensors"),
        raw=kept_weights("raw.safetensors"),
        manifest=settled(f"{RESULTS}/latents/manifest.json", f"{RUN}/losses.provenance.json", loss_settings),
    output:
        record=f"{RUN}/losses.json",
        images=f"{RUN}/losses.npz",
        provenance=f"{RUN}/losses.provenance.json",
    log:
        "<results>/logs/losses/{variant}_seed-{seed}.log",
    benchmark:
        "<results>/times/losses/{variant}_seed-{seed}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        jobs_per_gpu=STUDY.resources.jobs_per_gpu,
        gpu=GPUS,
    params:
        settings=lambda wildcards: loss_settings(wildcards).canonical(),
    script:
        "../workflow/scripts/held_out_loss.py"


rule losses:
    input:
        gathered("losses", "held_out_loss", every_run("losses.json")),
