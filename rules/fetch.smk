# On the machine that Snakemake runs on, which has a network where any has. What is there already has no rule, so that
# nothing ever deletes it.
MISSING = [name for name in ASSETS if not (CACHE / name).is_file()]

if MISSING:

    localrules:
        fetch,

    rule fetch:
        output:
            f"{CACHE}/{{asset}}",
        log:
            "<results>/logs/fetch/{asset}.log",
        wildcard_constraints:
            asset="|".join(map(re.escape, MISSING)),
        conda:
            "../envs/data.yaml"
        params:
            url=lambda wildcards: ASSETS[wildcards.asset].url,
            sha256=lambda wildcards: ASSETS[wildcards.asset].sha256,
            cache=lambda wildcards: str(CACHE),
        script:
            "../workflow/scripts/fetch.py"
