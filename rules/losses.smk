if STUDY.laws:

    # A run of a study for laws: trained to all of its budgets and measured at each, in one job. Weights stay in `states`.
    rule train_and_measure:
        input:
            outdated(f"{RUN}/losses.provenance.json", loss_settings),
            manifest=settled(f"{RESULTS}/latents/manifest.json", f"{RUN}/losses.provenance.json", loss_settings),
            preflight=settled(f"{RESULTS}/preflight/preflight.json", f"{RUN}/losses.provenance.json", loss_settings),
        output:
            record=f"{RUN}/losses.json",
            images=f"{RUN}/losses.npz",
            provenance=f"{RUN}/losses.provenance.json",
        log:
            "<results>/logs/losses/{variant}_seed-{seed}.log",
        benchmark:
            "<results>/times/train/{variant}_seed-{seed}.tsv"
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
            settings=lambda wildcards: loss_settings(wildcards).canonical(),
            training=lambda wildcards: run_settings(wildcards).canonical(),
            states=f"{RESULTS}/states",
        script:
            "../workflow/scripts/train_and_measure.py"

else:

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


rule loss_table:
    input:
        losses=every_run("losses.json"),
        losses_of_images=every_run("losses.npz"),
    output:
        table="<results>/losses.csv",
        provenance="<results>/losses-provenance.json",
    log:
        "<results>/logs/loss_table.log",
    conda:
        "../envs/report.yaml"
    params:
        settings=lambda wildcards: STAGES.report().canonical(),
    script:
        "../workflow/scripts/loss_table.py"


rule losses:
    input:
        gathered("losses", "train_and_measure" if STUDY.laws else "held_out_loss", every_run("losses.json")),
