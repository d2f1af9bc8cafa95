rule train_milestone:
    input:
        outdated(f"{STEP}/provenance.json", run_settings),
        manifest=settled(f"{RESULTS}/latents/manifest.json", f"{STEP}/provenance.json", run_settings),
        preflight=settled(f"{RESULTS}/preflight/preflight.json", f"{STEP}/provenance.json", run_settings),
        earlier=earlier_stop("ema.safetensors"),
        gate=stopping(earlier_stop("gate.json")),
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
    threads: STUDY.resources.threads * STUDY.resources.ranks_per_node
    resources:
        device=STUDY.resources.device,
        gpu=GPUS * STUDY.resources.ranks_per_node,
        ranks=STUDY.resources.ranks_per_node,
        nodes=1,
        micro_batch=STUDY.resources.micro_batch,
        save_minutes=STUDY.resources.save_minutes,
        save_steps=STUDY.resources.save_steps,
        log_seconds=STUDY.resources.log_seconds,
    params:
        settings=lambda wildcards: run_settings(wildcards).canonical(),
        states=f"{RESULTS}/states",
    script:
        "../workflow/scripts/train_milestone.py"


rule train:
    input:
        gathered("train", "train_milestone", every_step("ema.safetensors", TRAINED)),


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
        gpu=GPUS,
    params:
        settings=lambda wildcards: gate_settings(wildcards).canonical(),
    script:
        "../workflow/scripts/gate.py"
