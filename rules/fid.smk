rule extractor:
    input:
        data=RESULTS + "/data/data.json",
    output:
        record=RESULTS + "/reference/extractor.json",
        # The study's own classifier is made here; a given network is only checked and named.
        weights=[RESULTS + "/reference/classifier.safetensors"] if STUDY.metrics.extractor.kind == "classifier" else [],
        provenance=RESULTS + "/reference/extractor-provenance.json",
    log:
        RESULTS + "/logs/extractor.log",
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        gpu=GPUS,
    params:
        settings=STAGES.extractor().canonical(),
    script:
        "../workflow/scripts/extractor.py"


rule reference:
    input:
        extractor=RESULTS + "/reference/extractor.json",
        vae=RESULTS + "/vae/vae.json",
    output:
        moments=RESULTS + "/reference/moments.npz",
        features=RESULTS + "/reference/features.npy",
        lines=RESULTS + "/reference/lines.json",
        provenance=RESULTS + "/reference/provenance.json",
    log:
        RESULTS + "/logs/reference.log",
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        gpu=GPUS,
    params:
        settings=STAGES.reference().canonical(),
        latents=STAGES.latents().canonical(),
    script:
        "../workflow/scripts/reference.py"


rule score:
    input:
        parts=numbered(EVALUATION + "/samples/part-{number}.npz", STUDY.sampling.parts),
        extractor=RESULTS + "/reference/extractor.json",
        moments=RESULTS + "/reference/moments.npz",
        features=RESULTS + "/reference/features.npy",
    output:
        metrics=EVALUATION + "/metrics.json",
        provenance=EVALUATION + "/provenance.json",
    log:
        RESULTS + "/logs/fid/{variant}_seed-{seed}_step-{step}_guidance-{guidance}.log",
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        gpu=GPUS,
    params:
        settings=lambda wildcards: evaluation(STAGES.fid, wildcards).canonical(),
    script:
        "../workflow/scripts/score.py"


rule fid:
    input:
        gathered("fid", "score", every_evaluation(EVALUATION + "/metrics.json")),
