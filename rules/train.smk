rule train_milestone:
    input:
        outdated(f"{STEP}/provenance.json", run_settings),
        manifest=settled(f"{RESULTS}/latents/manifest.json", f"{STEP}/provenance.json", run_settings),
        preflight=settled(f"{RESULTS}/preflight/preflight.json", f"{STEP}/provenance.json", run_settings),
        earlier=earlier_stops(),
        gate=gate_before(),
    output:
        ema="<step>/ema.safetensors",
        raw="<step>/raw.safetensors",
        metrics="<step>/metrics.jsonl",
        curve="<step>/loss.svg",
        provenance="<step>/provenance.json",
    log:
        "<results>/logs/train/{variant}_seed-{seed}_step-{step}.log",
    benchmark:
        "<results>/times/train/{variant}_seed-{seed}_step-{step}.tsv"
    priority: costliest_first
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads * STUDY.resources.gpus_per_node
    resources:
        device=STUDY.resources.device,
        jobs_per_gpu=STUDY.resources.jobs_per_gpu,
        gpu=GPUS * STUDY.resources.gpus_per_node,
        ranks=STUDY.resources.gpus_per_node,
        nodes=1,
        mem_mb=training_memory,
        micro_batch=STUDY.resources.micro_batch,
        save_minutes=STUDY.resources.save_minutes,
        save_steps=STUDY.resources.save_steps,
        log_seconds=STUDY.resources.log_seconds,
        loggers=LOGGERS,
    params:
        settings=lambda wildcards: run_settings(wildcards).canonical(),
        states=f"{RESULTS}/states",
    script:
        "../workflow/scripts/train_milestone.py"


rule train:
    input:
        gathered("train", "train_milestone", every_step("ema.safetensors", TRAINED)),
