

rule aggregate:
    input:
        metrics=[
            EVALUATION.format(
                variant=STUDY.variant(row.variant).slug, seed=row.seed, step=row.step, guidance=row.guidance_scale
            )
            + "/metrics.json"
            for row in STAGES.evaluations()
        ],
        logs=[
            STEP.format(variant=slug, seed=seed, step=EXPORTS[-1]) + "/metrics.jsonl"
            for slug in SLUGS
            for seed in STUDY.training.seeds
        ],
        lines=RESULTS + "/reference/lines.json",
    output:
        parquet=RESULTS + "/metrics.parquet",
        csv=RESULTS + "/metrics.csv",
        curves=RESULTS + "/training.csv",
        claims=RESULTS + "/claims.json",
        provenance=RESULTS + "/provenance.json",
    log:
        RESULTS + "/logs/aggregate.log",
    conda:
        "../envs/report.yaml"
    params:
        settings=STAGES.aggregate().canonical(),
    script:
        "../workflow/scripts/aggregate.py"


rule figures:
    input:
        table=RESULTS + "/metrics.parquet",
        curves=RESULTS + "/training.csv",
        lines=RESULTS + "/reference/lines.json",
    output:
        svg=expand(RESULTS + "/figures/{figure}.svg", figure=FIGURES),
        png=expand(RESULTS + "/figures/{figure}.png", figure=FIGURES),
        csv=expand(RESULTS + "/figures/{figure}.csv", figure=FIGURES),
    log:
        RESULTS + "/logs/figures.log",
    conda:
        "../envs/report.yaml"
    script:
        "../workflow/scripts/figures.py"


rule report:
    input:
        table=RESULTS + "/metrics.parquet",
        claims=RESULTS + "/claims.json",
        lines=RESULTS + "/reference/lines.json",
        data=RESULTS + "/data/data.json",
        vae=RESULTS + "/vae/vae.json",
        reconstructions=RESULTS + "/vae/reconstructions.png",
        manifest=ancient(RESULTS + "/latents/manifest.json"),
        extractor=RESULTS + "/reference/extractor.json",
        provenance=RESULTS + "/provenance.json",
        figures=expand(RESULTS + "/figures/{figure}.svg", figure=FIGURES),
        samples=expand(
            EVALUATION + "/samples/part-00000.npz",
            variant=SLUGS,
            seed=STUDY.training.seeds[0],
            step=EXPORTS[-1],
            guidance=STUDY.sampling.guidance_scales[0],
        ),
    output:
        html=RESULTS + "/report.html",
    log:
        RESULTS + "/logs/report.log",
    conda:
        "../envs/report.yaml"
    params:
        settings=STAGES.report().canonical(),
    script:
        "../workflow/scripts/report.py"
