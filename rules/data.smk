rule data:
    input:
        outdated(f"{RESULTS}/data/provenance.json", lambda wildcards: STAGES.data()),
    output:
        facts="<results>/data/data.json",
        provenance="<results>/data/provenance.json",
    log:
        "<results>/logs/data.log",
    benchmark:
        "<results>/times/data.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=lambda wildcards: STAGES.data().canonical(),
    script:
        "../workflow/scripts/data.py"
