rule sample_part:
    input:
        checkpoint="<step>/ema.safetensors",
        vae=vae_of_samples,
    output:
        images="<evaluation>/samples/part-{part}.npz",
        grid="<evaluation>/samples/part-{part}.png",
        provenance="<evaluation>/samples/part-{part}.provenance.json",
    log:
        "<results>/logs/sample/{variant}_seed-{seed}_step-{step}_guidance-{guidance}_part-{part}.log",
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
            numbered(every_evaluation("samples/part-{number}.npz"), STUDY.sampling.parts),
        ),
