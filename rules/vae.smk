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
        jobs_per_gpu=STUDY.resources.jobs_per_gpu,
        gpu=GPUS,
    params:
        settings=lambda wildcards: STAGES.vae().canonical(),
    script:
        "../workflow/scripts/vae.py"
