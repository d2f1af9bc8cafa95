rule classifier:
    input:
        outdated(
            f"{RESULTS}/reference/classifier/extractor-provenance.json",
            lambda wildcards: STAGES.extractor("classifier"),
        ),
        data="<results>/data/data.json",
    output:
        record="<results>/reference/classifier/extractor.json",
        weights="<results>/reference/classifier/classifier.safetensors",
        provenance="<results>/reference/classifier/extractor-provenance.json",
    log:
        "<results>/logs/extractor/classifier.log",
    benchmark:
        "<results>/times/extractor/classifier.tsv"
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        jobs_per_gpu=STUDY.resources.jobs_per_gpu,
        gpu=GPUS,
    params:
        settings=lambda wildcards: STAGES.extractor("classifier").canonical(),
    script:
        "../workflow/scripts/extractor.py"


# A given network is only checked and named.
rule extractor:
    input:
        outdated(f"{RESULTS}/reference/{{extractor}}/extractor-provenance.json", extractor_settings),
        data="<results>/data/data.json",
        weights=given_file("weights"),
    output:
        record="<results>/reference/{extractor}/extractor.json",
        provenance="<results>/reference/{extractor}/extractor-provenance.json",
    log:
        "<results>/logs/extractor/{extractor}.log",
    benchmark:
        "<results>/times/extractor/{extractor}.tsv"
    wildcard_constraints:
        extractor="inception|clean|dinov2",
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        jobs_per_gpu=STUDY.resources.jobs_per_gpu,
        gpu=GPUS,
    params:
        settings=lambda wildcards: extractor_settings(wildcards).canonical(),
    script:
        "../workflow/scripts/extractor.py"


rule reference:
    input:
        outdated(f"{RESULTS}/reference/{{extractor}}/provenance.json", reference_settings),
        extractor="<results>/reference/{extractor}/extractor.json",
        given=given_file("reference"),
        vae="<results>/vae/vae.json",
    output:
        moments="<results>/reference/{extractor}/moments.npz",
        features="<results>/reference/{extractor}/features.npy",
        levels=expand("<results>/reference/{{extractor}}/{level}/features.json", level=LEVELS),
        kept=expand("<results>/reference/{{extractor}}/{level}/{file}", level=LEVELS, file=KEPT),
        provenance="<results>/reference/{extractor}/provenance.json",
    log:
        "<results>/logs/reference/{extractor}.log",
    benchmark:
        "<results>/times/reference/{extractor}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        jobs_per_gpu=STUDY.resources.jobs_per_gpu,
        gpu=GPUS,
    params:
        settings=lambda wildcards: reference_settings(wildcards).canonical(),
    script:
        "../workflow/scripts/reference.py"


# All that a metric may ask for is kept, so that a metric that is added needs neither samples nor this.
rule extract_features:
    input:
        outdated(f"{EVALUATION}/features/{{extractor}}/provenance.json", feature_settings),
        parts=numbered(f"{EVALUATION}/samples/part-{{number}}.npz", STUDY.sampling.parts),
        extractor="<results>/reference/{extractor}/extractor.json",
    output:
        record=f"{FEATURES}/{{extractor}}/features.json",
        kept=expand(f"{FEATURES}/{{extractor}}/{{file}}", file=KEPT, allow_missing=True),
        provenance=f"{FEATURES}/{{extractor}}/provenance.json",
    log:
        "<results>/logs/features/{apart}{variant}_seed-{seed}_step-{step}_guidance-{guidance}_{extractor}.log",
    benchmark:
        "<results>/times/features/{apart}{variant}_seed-{seed}_step-{step}_guidance-{guidance}_{extractor}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        jobs_per_gpu=STUDY.resources.jobs_per_gpu,
        gpu=GPUS,
    params:
        settings=lambda wildcards: feature_settings(wildcards).canonical(),
    script:
        "../workflow/scripts/extract_features.py"


rule features:
    input:
        gathered(
            "features",
            "extract_features",
            expand(every_evaluation("features/{extractor}/features.json"), extractor=EXTRACTORS),
        ),
