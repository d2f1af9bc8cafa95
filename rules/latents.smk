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
        settings=STAGES.data().canonical(),
    script:
        "../workflow/scripts/data.py"


# Made here for a VAE that the study trains; a given one stays where it is.
TRAINED_VAE = expand(
    "<results>/vae/autoencoder/{file}",
    file=["config.json", "diffusion_pytorch_model.safetensors"] if STUDY.vae.source == "trained" else [],
)


rule vae:
    input:
        outdated(f"{RESULTS}/vae/provenance.json", lambda wildcards: STAGES.vae()),
        data="<results>/data/data.json",
        given=given_vae,
    output:
        TRAINED_VAE,
        record="<results>/vae/vae.json",
        picture="<results>/vae/reconstructions.png",
        provenance="<results>/vae/provenance.json",
    log:
        "<results>/logs/vae.log",
    benchmark:
        "<results>/times/vae.tsv"
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        gpu=GPUS,
    params:
        settings=STAGES.vae().canonical(),
    script:
        "../workflow/scripts/vae.py"


SHARD_FACTS = [
    *numbered("<results>/latents/train-{number}.json", STUDY.latents.shards),
    *numbered("<results>/latents/held_out-{number}.json", STUDY.latents.held_out_shards),
]


rule encode_shard:
    input:
        outdated(f"{RESULTS}/latents/{{split}}-{{shard}}.json", lambda wildcards: STAGES.latents()),
        vae="<results>/vae/vae.json",
    output:
        shard="<results>/latents/{split}-{shard}.tar",
        facts="<results>/latents/{split}-{shard}.json",
    log:
        "<results>/logs/encode/{split}-{shard}.log",
    benchmark:
        "<results>/times/encode/{split}-{shard}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: STUDY.resources.threads
    resources:
        device=STUDY.resources.device,
        gpu=GPUS,
        batch=STUDY.resources.encode_batch,
    params:
        settings=STAGES.latents().canonical(),
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
        settings=STAGES.latents().canonical(),
    script:
        "../workflow/scripts/latents.py"
