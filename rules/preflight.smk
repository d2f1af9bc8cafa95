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
