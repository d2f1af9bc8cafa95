def score_settings(wildcards):
    return STAGES.score(*evaluation(wildcards))


def memorisation_settings(wildcards):
    return STAGES.memorisation(*evaluation(wildcards))


rule score_samples:
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
        "<results>/logs/score/{variant}_seed-{seed}_step-{step}_guidance-{guidance}.log",
    benchmark:
        "<results>/times/score/{variant}_seed-{seed}_step-{step}_guidance-{guidance}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        jobs_per_gpu=STUDY.resources.jobs_per_gpu,
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


rule score:
    input:
        gathered("score", "score_samples", every_evaluation("metrics.json")),
