def earlier_milestone(wildcards):
    """The export before this one, so that each milestone trains only its own steps."""
    earlier = [step for step in EXPORTS if step < int(wildcards.step)]
    return [RUN + f"/step-{earlier[-1]}/ema.safetensors"] if earlier else []


def costliest_first(wildcards):
    """Start the variants with most Gflops first, so that none is left to run alone at the end."""
    return 1 + sorted(SLUGS, key=gflops_of).index(wildcards.variant)


rule train_milestone:
    input:
        # A rerun that leaves the latents as they were does not retrain; other settings upstream change
        # the digest in params, and other content changes the state's folder.
        manifest=ancient(RESULTS + "/latents/manifest.json"),
        earlier=earlier_milestone,
    output:
        ema=STEP + "/ema.safetensors",
        raw=STEP + "/raw.safetensors",
        metrics=STEP + "/metrics.jsonl",
        curve=STEP + "/loss.svg",
        provenance=STEP + "/provenance.json",
    log:
        RESULTS + "/logs/train/{variant}_seed-{seed}_step-{step}.log",
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
        states=RESULTS + "/states",
    script:
        "../workflow/scripts/train_milestone.py"


rule train:
    input:
        gathered("train", "train_milestone", every_step(STEP + "/ema.safetensors")),
