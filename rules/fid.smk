rule extractor:
    input:
        outdated(f"{RESULTS}/reference/extractor-provenance.json", lambda wildcards: STAGES.extractor()),
        data="<results>/data/data.json",
    output:
        record="<results>/reference/extractor.json",
        # The study's own classifier is made here; a given network is only checked and named.
        weights=["<results>/reference/classifier.safetensors"] if STUDY.metrics.extractor.kind == "classifier" else [],
        provenance="<results>/reference/extractor-provenance.json",
    log:
        "<results>/logs/extractor.log",
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
        outdated(f"{RESULTS}/reference/provenance.json", lambda wildcards: STAGES.reference()),
        extractor="<results>/reference/extractor.json",
        vae="<results>/vae/vae.json",
    output:
        moments="<results>/reference/moments.npz",
        features="<results>/reference/features.npy",
        lines="<results>/reference/lines.json",
        provenance="<results>/reference/provenance.json",
    log:
        "<results>/logs/reference.log",
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
        outdated(f"{EVALUATION}/provenance.json", score_settings),
        parts=numbered("<evaluation>/samples/part-{number}.npz", STUDY.sampling.parts),
        extractor="<results>/reference/extractor.json",
        moments="<results>/reference/moments.npz",
        features="<results>/reference/features.npy",
    output:
        metrics="<evaluation>/metrics.json",
        provenance="<evaluation>/provenance.json",
    log:
        "<results>/logs/fid/{variant}_seed-{seed}_step-{step}_guidance-{guidance}.log",
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        gpu=GPUS,
    params:
        settings=lambda wildcards: score_settings(wildcards).canonical(),
    script:
        "../workflow/scripts/score.py"


rule fid:
    input:
        gathered("fid", "score", every_evaluation("metrics.json")),
