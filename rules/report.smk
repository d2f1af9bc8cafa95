# Where all weights are given, nothing is encoded and nothing waits for preflight.
MANIFEST = ["<results>/latents/manifest.json"] if TRAINED else []
PREFLIGHT = ["<results>/preflight/preflight.json"] if TRAINED else []
# Evaluations in further numbers of sampling steps.
SAMPLING_STEPS = ["<results>/sampling-steps.csv"] if STUDY.sampling.further_steps else []


rule aggregate:
    input:
        outdated(f"{RESULTS}/provenance.json", lambda wildcards: STAGES.aggregate()),
        metrics=every_evaluation("metrics.json"),
        logs=last_step("metrics.jsonl"),
        training=last_step("provenance.json"),
        losses=every_run("losses.json"),
        losses_of_images=every_run("losses.npz"),
        manifest=MANIFEST,
        levels=f"{HEADLINE}/levels.json",
    output:
        parquet="<results>/metrics.parquet",
        csv="<results>/metrics.csv",
        curves="<results>/training.csv",
        claims="<results>/claims.json",
        agreement="<results>/agreement.csv",
        claims_table="<results>/claims.csv",
        sampling_steps=SAMPLING_STEPS,
        provenance="<results>/provenance.json",
    log:
        "<results>/logs/aggregate.log",
    benchmark:
        "<results>/times/aggregate.tsv"
    conda:
        "../envs/report.yaml"
    params:
        settings=lambda wildcards: STAGES.aggregate().canonical(),
    script:
        "../workflow/scripts/aggregate.py"


rule figures:
    input:
        table="<results>/metrics.parquet",
        curves="<results>/training.csv",
        levels=f"{HEADLINE}/levels.json",
        claims="<results>/claims.json",
        samples=headline_evaluation("samples/first-00000.npz"),
        sampling_steps=SAMPLING_STEPS,
    output:
        svg=[
            report(
                f"<results>/figures/{figure.name}.svg",
                caption=f"../src/dit_scaling/report/texts/{figure.file.name}",
                category=figure.category,
                labels={"figure": figure.title},
            )
            for figure in FIGURES.values()
        ],
        csv=expand("<results>/figures/{figure}.csv", figure=FIGURES),
    log:
        "<results>/logs/figures.log",
    benchmark:
        "<results>/times/figures.tsv"
    conda:
        "../envs/report.yaml"
    params:
        variants=STUDY.variants,
    script:
        "../workflow/scripts/figures.py"


rule report:
    input:
        table="<results>/metrics.parquet",
        curves="<results>/training.csv",
        claims="<results>/claims.json",
        agreement="<results>/agreement.csv",
        levels=f"{HEADLINE}/levels.json",
        data="<results>/data/data.json",
        vae="<results>/vae/vae.json",
        reconstructions="<results>/vae/reconstructions.png",
        manifest=MANIFEST,
        preflight=PREFLIGHT,
        gates=every_gate(),
        extractor=f"{HEADLINE}/extractor.json",
        provenance="<results>/provenance.json",
        figures=expand("<results>/figures/{figure}.svg", figure=FIGURES),
        samples=headline_evaluation("samples/first-00000.npz"),
        memorisation=headline_evaluation("memorisation.json"),
        sampling_steps=SAMPLING_STEPS,
    output:
        html=report("<results>/report.html", category="Report", labels={"page": "The whole report"}),
        verdicts=report("<results>/tables/verdicts.csv", category="Verdicts", labels={"table": "Verdicts"}),
        tables=[f"<results>/tables/{name}.csv" for name in TABLES if name != "verdicts"],
    log:
        "<results>/logs/report.log",
    conda:
        "../envs/report.yaml"
    params:
        settings=lambda wildcards: STAGES.report().canonical(),
        times=f"{RESULTS}/times",
    script:
        "../workflow/scripts/report.py"
