rule sample_part:
    input:
        checkpoint=STEP + "/ema.safetensors",
        vae=ancient(RESULTS + "/vae/vae.json"),
        manifest=ancient(RESULTS + "/latents/manifest.json"),
    output:
        images=EVALUATION + "/samples/part-{part}.npz",
        grid=EVALUATION + "/samples/part-{part}.png",
    log:
        RESULTS + "/logs/sample/{variant}_seed-{seed}_step-{step}_guidance-{guidance}_part-{part}.log",
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        gpu=GPUS,
        batch=STUDY.resources.sample_batch,
        log_seconds=STUDY.resources.log_seconds,
    params:
        settings=lambda wildcards: evaluation(STAGES.sample, wildcards).canonical(),
    script:
        "../workflow/scripts/sample_part.py"


rule sample:
    input:
        gathered(
            "sample",
            "sample_part",
            numbered(every_evaluation(EVALUATION + "/samples/part-{number}.npz"), STUDY.sampling.parts),
        ),
