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
        lines="<results>/reference/{extractor}/lines.json",
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
        gpu=GPUS,
    params:
        settings=lambda wildcards: reference_settings(wildcards).canonical(),
    script:
        "../workflow/scripts/reference.py"


rule score:
    input:
        outdated(f"{EVALUATION}/provenance.json", score_settings),
        parts=numbered("<evaluation>/samples/part-{number}.npz", STUDY.sampling.parts),
        extractors=of_every_extractor("extractor.json"),
        moments=of_every_extractor("moments.npz"),
        features=of_every_extractor("features.npy"),
    output:
        metrics="<evaluation>/metrics.json",
        provenance="<evaluation>/provenance.json",
    log:
        "<results>/logs/fid/{variant}_seed-{seed}_step-{step}_guidance-{guidance}.log",
    benchmark:
        "<results>/times/fid/{variant}_seed-{seed}_step-{step}_guidance-{guidance}.tsv"
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


rule memorisation:
    input:
        outdated(f"{EVALUATION}/memorisation.provenance.json", memorisation_settings),
        parts=numbered("<evaluation>/samples/part-{number}.npz", STUDY.sampling.parts),
        data="<results>/data/data.json",
    output:
        record="<evaluation>/memorisation.json",
        picture="<evaluation>/memorisation.png",
        provenance="<evaluation>/memorisation.provenance.json",
    log:
        "<results>/logs/memorisation/{variant}_seed-{seed}_step-{step}_guidance-{guidance}.log",
    benchmark:
        "<results>/times/memorisation/{variant}_seed-{seed}_step-{step}_guidance-{guidance}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    params:
        settings=lambda wildcards: memorisation_settings(wildcards).canonical(),
    script:
        "../workflow/scripts/memorisation.py"


rule fid:
    input:
        gathered("fid", "score", every_evaluation("metrics.json")),
