# Statistics of features that are kept: no GPU.
rule levels:
    input:
        outdated(f"{RESULTS}/reference/{{extractor}}/levels-provenance.json", level_settings),
        features=expand("<results>/reference/{{extractor}}/{level}/features.json", level=LEVELS),
        kept=expand("<results>/reference/{{extractor}}/{level}/{file}", level=LEVELS, file=KEPT),
        moments="<results>/reference/{extractor}/moments.npz",
        reference="<results>/reference/{extractor}/features.npy",
    output:
        levels="<results>/reference/{extractor}/levels.json",
        provenance="<results>/reference/{extractor}/levels-provenance.json",
    log:
        "<results>/logs/levels/{extractor}.log",
    benchmark:
        "<results>/times/levels/{extractor}.tsv"
    conda:
        "../envs/report.yaml"
    threads: STUDY.resources.threads
    params:
        settings=lambda wildcards: level_settings(wildcards).canonical(),
    script:
        "../workflow/scripts/levels.py"


rule score_samples:
    input:
        outdated(f"{EVALUATION}/provenance.json", score_settings),
        features=of_every_extractor("features.json", FEATURES),
        kept=expand(of_every_extractor("{file}", FEATURES), file=KEPT, allow_missing=True),
        moments=of_every_extractor("moments.npz"),
        references=of_every_extractor("features.npy"),
    output:
        metrics=f"{EVALUATION}/metrics.json",
        provenance=f"{EVALUATION}/provenance.json",
    log:
        "<results>/logs/score/{apart}{variant}_seed-{seed}_step-{step}_guidance-{guidance}.log",
    benchmark:
        "<results>/times/score/{apart}{variant}_seed-{seed}_step-{step}_guidance-{guidance}.tsv"
    conda:
        "../envs/report.yaml"
    threads: STUDY.resources.threads
    params:
        settings=lambda wildcards: score_settings(wildcards).canonical(),
    script:
        "../workflow/scripts/score_samples.py"


rule memorisation:
    input:
        outdated(f"{EVALUATION}/memorisation.provenance.json", memorisation_settings),
        parts=numbered(f"{EVALUATION}/samples/part-{{number}}.npz", STUDY.sampling.parts),
        data="<results>/data/data.json",
    output:
        record=f"{EVALUATION}/memorisation.json",
        picture=f"{EVALUATION}/memorisation.png",
        provenance=f"{EVALUATION}/memorisation.provenance.json",
    log:
        "<results>/logs/memorisation/{apart}{variant}_seed-{seed}_step-{step}_guidance-{guidance}.log",
    benchmark:
        "<results>/times/memorisation/{apart}{variant}_seed-{seed}_step-{step}_guidance-{guidance}.tsv"
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
