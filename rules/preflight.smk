rule preflight:
    input:
        outdated(f"{RESULTS}/preflight/preflight.json", lambda wildcards: STAGES.preflight()),
        vae="<results>/vae/vae.json",
        manifest="<results>/latents/manifest.json",
    output:
        record="<results>/preflight/preflight.json",
        pictures=expand("<results>/preflight/{picture}.png", picture=["pairs", "overfit_batch"]),
    log:
        "<results>/logs/preflight.log",
    benchmark:
        "<results>/times/preflight.tsv"
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        jobs_per_gpu=STUDY.resources.jobs_per_gpu,
        gpu=GPUS,
    params:
        settings=lambda wildcards: STAGES.preflight().canonical(),
    script:
        "../workflow/scripts/preflight.py"


def preflight_of(record, settings):
    """Preflight, as an input of jobs that use what was trained; given weights have none.

    Training jobs that are settled pass nothing on of a preflight that runs again, while Snakemake asks no job after it for
    reasons of its own: so those that are outdated wait for it themselves.
    """
    file = settled(f"{RESULTS}/preflight/preflight.json", record, settings)
    return lambda wildcards: file(wildcards) if wildcards.variant in TRAINED else []
