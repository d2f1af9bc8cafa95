def run_settings(wildcards):
    return STAGES.train(wildcards.variant, int(wildcards.seed))


def gflops_of(slug):
    return count_gflops(STUDY.variant_by_slug(slug), STUDY.latent_size, STUDY.vae.latent_channels)


def costliest_first(wildcards):
    """Start the variants with most Gflops first, so that none is left to run alone at the end."""
    return 1 + sorted(SLUGS, key=gflops_of).index(wildcards.variant)


def earlier_stop(file):
    """`file` of the stop before this one, so that each training job trains only its own steps."""

    def files_of_stop(wildcards):
        earlier = [step for step in STUDY.training.stops if step < int(wildcards.step)]
        return [f"{RUN}/step-{earlier[-1]}/{file}"] if earlier else []

    return files_of_stop


def stopping(files):
    """`files` where a gate that finds a run broken stops it; otherwise nothing waits for gates but the report."""
    return files if STUDY.training.gates == "stop" else []


def training_memory(wildcards):
    """Megabytes that a cluster's scheduler is asked for."""
    from dit_scaling.plan.command import look_at
    from dit_scaling.plan.space import training_mb

    return training_mb(STUDY, STUDY.variant_by_slug(wildcards.variant), look_at(STUDY.data)[0])


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
    params:
        settings=lambda wildcards: run_settings(wildcards).canonical(),
        states=f"{RESULTS}/states",
    script:
        "../workflow/scripts/train_milestone.py"


rule train:
    input:
        gathered("train", "train_milestone", every_step("ema.safetensors", TRAINED)),
