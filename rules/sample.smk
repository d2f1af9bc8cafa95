# What is not to be kept goes once its features are, and once memorisation has read it.
PART = f"{SAMPLES}.npz" if STUDY.sampling.keep_samples else temp(f"{SAMPLES}.npz")


rule sample_part:
    input:
        outdated(f"{SAMPLES}.provenance.json", sample_settings),
        checkpoint=weights,
        gate=gate_of_weights(f"{SAMPLES}.provenance.json", sample_settings),
        preflight=preflight_of(f"{SAMPLES}.provenance.json", sample_settings),
        vae=settled(f"{RESULTS}/vae/vae.json", f"{SAMPLES}.provenance.json", sample_settings),
    output:
        images=PART,
        first=f"{EVALUATION}/samples/first-{{part}}.npz",
        grid=f"{SAMPLES}.png",
        provenance=f"{SAMPLES}.provenance.json",
    log:
        "<results>/logs/sample/{apart}{variant}_seed-{seed}_step-{step}_guidance-{guidance}_part-{part}.log",
    benchmark:
        "<results>/times/sample/{apart}{variant}_seed-{seed}_step-{step}_guidance-{guidance}_part-{part}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        jobs_per_gpu=STUDY.resources.jobs_per_gpu,
        gpu=GPUS,
        batch=STUDY.resources.sample_batch,
        graphs=int(STUDY.resources.cuda_graphs),
        log_seconds=STUDY.resources.log_seconds,
    params:
        settings=lambda wildcards: sample_settings(wildcards).canonical(),
    script:
        "../workflow/scripts/sample_part.py"


rule sample:
    input:
        gathered(
            "sample",
            "sample_part",
            numbered(every_evaluation("samples/part-{number}.npz"), STUDY.sampling.parts),
        ),
