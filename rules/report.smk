

rule aggregate:
    input:
        outdated(f"{RESULTS}/provenance.json", lambda wildcards: STAGES.aggregate()),
        metrics=[
            f"{EVALUATION}/metrics.json".format(
                variant=STUDY.variant(row.variant).slug, seed=row.seed, step=row.step, guidance=row.guidance_scale
            )
            for row in STAGES.evaluations()
        ],
        logs=[
            f"{STEP}/metrics.jsonl".format(variant=slug, seed=seed, step=EXPORTS[-1])
            for slug in SLUGS
            for seed in STUDY.training.seeds
        ],
        training=[
            f"{STEP}/provenance.json".format(variant=slug, seed=seed, step=EXPORTS[-1])
            for slug in SLUGS
            for seed in STUDY.training.seeds
        ],
        manifest="<results>/latents/manifest.json",
        lines="<results>/reference/lines.json",
    output:
        parquet="<results>/metrics.parquet",
        csv="<results>/metrics.csv",
        curves="<results>/training.csv",
        claims="<results>/claims.json",
        provenance="<results>/provenance.json",
    log:
        "<results>/logs/aggregate.log",
    conda:
        "../envs/report.yaml"
    params:
        settings=STAGES.aggregate().canonical(),
    script:
        "../workflow/scripts/aggregate.py"


rule figures:
    input:
        table="<results>/metrics.parquet",
        curves="<results>/training.csv",
        lines="<results>/reference/lines.json",
    output:
        svg=expand("<results>/figures/{figure}.svg", figure=FIGURES),
        png=expand("<results>/figures/{figure}.png", figure=FIGURES),
        csv=expand("<results>/figures/{figure}.csv", figure=FIGURES),
    log:
        "<results>/logs/figures.log",
    conda:
        "../envs/report.yaml"
    script:
        "../workflow/scripts/figures.py"


rule report:
    input:
        table="<results>/metrics.parquet",
        claims="<results>/claims.json",
        lines="<results>/reference/lines.json",
        data="<results>/data/data.json",
        vae="<results>/vae/vae.json",
        reconstructions="<results>/vae/reconstructions.png",
        manifest="<results>/latents/manifest.json",
        extractor="<results>/reference/extractor.json",
        provenance="<results>/provenance.json",
        figures=expand("<results>/figures/{figure}.svg", figure=FIGURES),
        samples=expand(
            f"{EVALUATION}/samples/part-00000.npz",
            variant=SLUGS,
            seed=STUDY.training.seeds[0],
            step=EXPORTS[-1],
            guidance=STUDY.sampling.guidance_scales[0],
        ),
    output:
        html="<results>/report.html",
    log:
        "<results>/logs/report.log",
    conda:
        "../envs/report.yaml"
    params:
        settings=STAGES.report().canonical(),
    script:
        "../workflow/scripts/report.py"
