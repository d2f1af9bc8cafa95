rule preflight:
    input:
        outdated(f"{RESULTS}/preflight/preflight.json", lambda wildcards: STAGES.preflight()),
        vae="<results>/vae/vae.json",
        manifest="<results>/latents/manifest.json",
    output:
        record="<results>/preflight/preflight.json",
        pictures=expand("<results>/preflight/{picture}.png", picture=["pairs", "memory"]),
    log:
        "<results>/logs/preflight.log",
    benchmark:
        "<results>/times/preflight.tsv"
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        gpu=GPUS,
    params:
        settings=STAGES.preflight().canonical(),
    script:
        "../workflow/scripts/preflight.py"
