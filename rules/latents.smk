rule data:
    output:
        facts=RESULTS + "/data/data.json",
        provenance=RESULTS + "/data/provenance.json",
    log:
        RESULTS + "/logs/data.log",
    conda:
        "../envs/data.yaml"
    params:
        settings=STAGES.data().canonical(),
    script:
        "../workflow/scripts/data.py"


# Made here for a VAE that the study trains; a given one stays where it is.
TRAINED_VAE = expand(
    RESULTS + "/vae/autoencoder/{file}",
    file=["config.json", "diffusion_pytorch_model.safetensors"] if STUDY.vae.source == "trained" else [],
)


rule vae:
    input:
        data=RESULTS + "/data/data.json",
    output:
        TRAINED_VAE,
        record=RESULTS + "/vae/vae.json",
        picture=RESULTS + "/vae/reconstructions.png",
        provenance=RESULTS + "/vae/provenance.json",
    log:
        RESULTS + "/logs/vae.log",
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
    *numbered(RESULTS + "/latents/train-{number}.json", STUDY.latents.shards),
    *numbered(RESULTS + "/latents/held_out-{number}.json", STUDY.latents.held_out_shards),
]


rule encode_shard:
    input:
        vae=RESULTS + "/vae/vae.json",
    output:
        shard=RESULTS + "/latents/{split}-{shard}.tar",
        facts=RESULTS + "/latents/{split}-{shard}.json",
    log:
        RESULTS + "/logs/encode/{split}-{shard}.log",
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
        vae=RESULTS + "/vae/vae.json",
        facts=gathered("latents", "encode_shard", SHARD_FACTS),
    output:
        manifest=RESULTS + "/latents/manifest.json",
        provenance=RESULTS + "/latents/provenance.json",
    log:
        RESULTS + "/logs/latents.log",
    conda:
        "../envs/data.yaml"
    params:
        settings=STAGES.latents().canonical(),
    script:
        "../workflow/scripts/latents.py"
