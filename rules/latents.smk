SHARD_FACTS = [
    *numbered("<results>/latents/train-{number}.json", STUDY.latents.shards),
    *numbered("<results>/latents/held_out-{number}.json", STUDY.latents.held_out_shards),
]


# Imported latents are taken as they are: nothing is encoded then.
rule encode_shard:
    input:
        outdated(f"{RESULTS}/latents/{{split}}-{{shard}}.json", lambda wildcards: STAGES.latents()),
        vae="<results>/vae/vae.json",
        imported=imported_latents,
    output:
        shard="<results>/latents/{split}-{shard}.tar",
        facts="<results>/latents/{split}-{shard}.json",
    log:
        "<results>/logs/encode_shard/{split}-{shard}.log",
    benchmark:
        "<results>/times/encode_shard/{split}-{shard}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        jobs_per_gpu=STUDY.resources.jobs_per_gpu,
        gpu=0 if STUDY.latents.source else GPUS,
        batch=STUDY.resources.encode_batch,
    params:
        settings=lambda wildcards: STAGES.latents().canonical(),
    script:
        "../workflow/scripts/encode_shard.py"


rule latents:
    input:
        outdated(f"{RESULTS}/latents/provenance.json", lambda wildcards: STAGES.latents()),
        vae="<results>/vae/vae.json",
        facts=gathered("latents", "encode_shard", SHARD_FACTS),
    output:
        manifest="<results>/latents/manifest.json",
        provenance="<results>/latents/provenance.json",
    log:
        "<results>/logs/latents.log",
    benchmark:
        "<results>/times/latents.tsv"
    conda:
        "../envs/data.yaml"
    params:
        settings=lambda wildcards: STAGES.latents().canonical(),
    script:
        "../workflow/scripts/latents.py"
