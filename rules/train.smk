rule train_milestone:
    input:
        outdated(f"{STEP}/provenance.json", run_settings),
        manifest=settled(f"{RESULTS}/latents/manifest.json", f"{STEP}/provenance.json", run_settings),
        earlier=earlier_milestone,
    output:
        ema="<step>/ema.safetensors",
        raw="<step>/raw.safetensors",
        metrics="<step>/metrics.jsonl",
        curve="<step>/loss.svg",
        provenance="<step>/provenance.json",
    log:
        "<results>/logs/train/{variant}_seed-{seed}_step-{step}.log",
    priority: costliest_first
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        gpu=GPUS,
        save_minutes=STUDY.resources.save_minutes,
        log_seconds=STUDY.resources.log_seconds,
    params:
        settings=lambda wildcards: run_settings(wildcards).canonical(),
        states=f"{RESULTS}/states",
    script:
        "../workflow/scripts/train_milestone.py"


rule train:
    input:
        gathered("train", "train_milestone", every_step("ema.safetensors")),
