rule gate:
    input:
        outdated(f"{STEP}/gate.json", gate_settings),
        raw="<step>/raw.safetensors",
        ema="<step>/ema.safetensors",
        log="<step>/metrics.jsonl",
        preflight=preflight_of(f"{STEP}/gate.json", gate_settings),
        manifest=settled(f"{RESULTS}/latents/manifest.json", f"{STEP}/gate.json", gate_settings),
        vae=settled(f"{RESULTS}/vae/vae.json", f"{STEP}/gate.json", gate_settings),
    output:
        record="<step>/gate.json",
        page="<step>/gate.html",
    log:
        "<results>/logs/gate/{variant}_seed-{seed}_step-{step}.log",
    benchmark:
        "<results>/times/gate/{variant}_seed-{seed}_step-{step}.tsv"
    priority: costliest_first
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        jobs_per_gpu=STUDY.resources.jobs_per_gpu,
        gpu=GPUS,
        loggers=LOGGERS,
    params:
        settings=lambda wildcards: gate_settings(wildcards).canonical(),
    script:
        "../workflow/scripts/gate.py"
