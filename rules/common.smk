"""What all rules share: the checked study, the settings of each stage, and the names of its files."""

import os
import re
import sys
from pathlib import Path

from snakemake.logging import logger
from snakemake.utils import min_version, validate

from dit_scaling.allocator import KEPT_MEMORY
from dit_scaling.assets import locate_file, locate_vae, needed_assets, open_stages
from dit_scaling.config import parse_study
from dit_scaling.data.sources import check_source
from dit_scaling.errors import UserError
from dit_scaling.provenance import settings_digest
from dit_scaling.report.captions import FIGURES, TABLES
from dit_scaling.variants import count_gflops

min_version("9.27")

# Jobs inherit it, those of a cluster from the Snakemake that runs them there.
for name, value in KEPT_MEMORY.items():
    os.environ.setdefault(name, value)

# A config file given on the command line is a study of its own, not a change to the embedded one.
if not workflow.config_settings.configfiles:

    configfile: "config/config.yaml"


try:
    STUDY = parse_study(config)
    # Without defaults: Snakemake would fill in those of the first kind of data and of VAE, whichever the config names.
    validate(config, "../config/study.schema.json", set_default=False)
    check_source(STUDY.data)
    RESULTS = f"results/{STUDY.study}"
    EXTRACTORS = [extractor.kind for extractor in STUDY.metrics.extractors]
    CACHE = Path(STUDY.resources.cache)
    ASSETS = {asset.name: asset for asset in needed_assets(STUDY)}
    VAE = locate_vae(STUDY.vae.path, CACHE) if STUDY.vae.source == "pretrained" else None
    GIVEN = {name: locate_file(file, CACHE, f"checkpoints.{name}") for name, file in STUDY.checkpoints.items()}
    FEATURE_FILES = {
        (kind, key): [str(locate_file(getattr(network, key), CACHE, f"metrics: {kind}: {key}"))]
        for kind in EXTRACTORS
        for key in ("weights", "reference")
        if (network := STUDY.metrics.given(kind)) and getattr(network, key)
    }
    STAGES = open_stages(STUDY, Path(RESULTS))
except UserError as error:
    logger.error(f"Error: {error}")
    sys.exit(2)

if workflow.is_main_process:
    for warning in STUDY.warnings():
        logger.warning(f"Doubtful setting: {warning}.")

RUN = f"{RESULTS}/{{variant}}/seed-{{seed}}"
STEP = f"{RUN}/step-{{step}}"
EVALUATION = f"{STEP}/{STUDY.sampling.folder('{guidance}')}"
SAMPLES = f"{EVALUATION}/samples/part-{{part}}"
HEADLINE = f"{RESULTS}/reference/{EXTRACTORS[0]}"
SLUGS = [STUDY.variant(name).slug for name in STUDY.variants]
TRAINED = [STUDY.variant(name).slug for name in STUDY.trained]
EXPORTS = STUDY.training.exports
GPUS = int(STUDY.resources.device == "cuda")


pathvars:
    results=RESULTS,
    step=STEP,
    evaluation=EVALUATION,


wildcard_constraints:
    variant=r"DiT-[A-Za-z0-9]+-[0-9]+|UNet-[A-Za-z0-9]+",
    seed=r"[0-9]+",
    step=r"[0-9]+",
    guidance=r"[0-9]+\.[0-9]+",
    split=r"train|held_out",
    shard=r"[0-9]{5}",
    part=r"[0-9]{5}",
    extractor=r"classifier|inception|clean|dinov2",


def every_step(file, slugs=SLUGS):
    """`file` of every variant, seed and exported step of the study."""
    return [
        path
        for slug in slugs
        for path in expand(
            f"{STEP}/{file}",
            variant=slug,
            seed=STUDY.training.seeds,
            step=STUDY.exports(STUDY.variant_by_slug(slug).name),
            allow_missing=True,
        )
    ]


def last_step(file):
    """`file` of the last step of every run that the study trains."""
    return expand(f"{STEP}/{file}", variant=TRAINED, seed=STUDY.training.seeds, step=EXPORTS[-1])


def weights(wildcards):
    """The weights that are sampled: given ones, or those exported at the step."""
    given = GIVEN.get(STUDY.variant_by_slug(wildcards.variant).name)
    return ancient(str(given)) if given else f"{STEP}/ema.safetensors"


def given_vae(wildcards):
    """Configuration of a given VAE, whose folder is the VAE; and the other files of it that are fetched."""
    fetched = [CACHE / name for name in ASSETS if (CACHE / name).parent == VAE]
    return [ancient(str(path)) for path in fetched or [VAE / "config.json"]] if VAE else []


def every_evaluation(file):
    """`file` of every exported step at every guidance scale."""
    return expand(
        every_step(f"{STUDY.sampling.folder('{guidance}')}/{file}"),
        guidance=STUDY.sampling.guidance_scales,
        allow_missing=True,
    )


def headline_evaluation(file):
    """`file` of the last step, first seed and first guidance scale of every variant."""
    return expand(
        f"{EVALUATION}/{file}",
        variant=SLUGS,
        seed=STUDY.training.seeds[0],
        step=EXPORTS[-1],
        guidance=STUDY.sampling.guidance_scales[0],
    )


def given_file(key):
    """The `weights` or the `reference` that the config gives for an extractor, where it does."""
    return lambda wildcards: ancient(FEATURE_FILES.get((wildcards.extractor, key), []))


def of_every_extractor(file):
    """`file` of the reference of every extractor, the headline's first."""
    return expand(f"{RESULTS}/reference/{{extractor}}/{file}", extractor=EXTRACTORS)


def every_gate():
    """The record of every gate; none where gates are off."""
    steps = [] if STUDY.training.gates == "off" else STUDY.training.stops
    return expand(f"{STEP}/gate.json", variant=TRAINED, seed=STUDY.training.seeds, step=steps)


def numbered(patterns, count):
    """Each pattern with {number} as 00000, 00001, ... up to `count`; other wildcards stay."""
    return expand(patterns, number=[f"{number:05d}" for number in range(count)], allow_missing=True)


def gflops_of(slug):
    return count_gflops(STUDY.variant_by_slug(slug), STUDY.latent_size, STUDY.vae.latent_channels)


def run_settings(wildcards):
    return STAGES.train(wildcards.variant, int(wildcards.seed))


def sample_settings(wildcards):
    return STAGES.sample(*evaluation(wildcards))


def extractor_settings(wildcards):
    return STAGES.extractor(wildcards.extractor)


def reference_settings(wildcards):
    return STAGES.reference(wildcards.extractor)


def score_settings(wildcards):
    return STAGES.fid(*evaluation(wildcards))


def memorisation_settings(wildcards):
    return STAGES.memorisation(*evaluation(wildcards))


def evaluation(wildcards):
    return wildcards.variant, int(wildcards.seed), int(wildcards.step), float(wildcards.guidance)


def is_outdated(record, settings, wildcards):
    """Whether the JSON `record` beside a result says that it was made with other settings than now.

    Snakemake's own memory of params is gone with the folder .snakemake, and it is not asked while a job upstream is to
    run. Our record holds the digest of the settings of its stage and of all stages before it.
    """
    path = Path(record.format(**wildcards))
    return path.exists() and settings_digest(path) != settings(wildcards).digest


def outdated(record, settings):
    """No input, but a reason to run: forces the job whose `record` is outdated."""

    def force_if_outdated(wildcards):
        if is_outdated(record, settings, wildcards):
            workflow.dag.forcefiles.add(record.format(**wildcards))
        return []

    return force_if_outdated


def settled(file, record, settings):
    """`file` as an input whose rewriting does not repeat a job, unless the job's `record` is outdated or missing.

    Jobs after one that is to run are not asked for reasons of their own, and ancient inputs then hold them back.
    """

    def settled_file(wildcards):
        made = Path(record.format(**wildcards)).exists()
        return ancient(file) if made and not is_outdated(record, settings, wildcards) else file

    return settled_file


def gate_settings(wildcards):
    return STAGES.gate(wildcards.variant, int(wildcards.seed), int(wildcards.step))


def earlier_stop(file):
    """`file` of the stop before this one, so that each training job trains only its own steps."""

    def files_of_stop(wildcards):
        earlier = [step for step in STUDY.training.stops if step < int(wildcards.step)]
        return [f"{RUN}/step-{earlier[-1]}/{file}"] if earlier else []

    return files_of_stop


def stopping(files):
    """`files` where a gate that finds a run broken stops it; otherwise nothing waits for gates but the report."""
    return files if STUDY.training.gates == "stop" else []


def costliest_first(wildcards):
    """Start the variants with most Gflops first, so that none is left to run alone at the end."""
    return 1 + sorted(SLUGS, key=gflops_of).index(wildcards.variant)


def gathered(stage, worker, files):
    """All `files` that rule `worker` makes, as the input of the target `stage`.

    `--forcerun STAGE` names the target rule, but means the jobs behind it. Snakemake knows no such alias, so
    the worker joins the forced rules here, while the DAG is built and before it is decided what runs.
    """

    def files_of_stage(wildcards):
        if stage in workflow.dag_settings.forcerun:
            workflow.dag.forcerules.add(workflow.get_rule(worker))
        return files

    return files_of_stage


def preflight_of(record, settings):
    """Preflight, as an input of jobs that use what was trained; given weights have none.

    Training jobs that are settled pass nothing on of a preflight that runs again, while Snakemake asks no job after it for
    reasons of its own: so those that are outdated wait for it themselves.
    """
    file = settled(f"{RESULTS}/preflight/preflight.json", record, settings)
    return lambda wildcards: file(wildcards) if wildcards.variant in TRAINED else []


def gate_of_weights(wildcards):
    """The gate of the weights that are sampled, where it can stop them; given weights have none."""
    return stopping([f"{STEP}/gate.json"] if wildcards.variant in TRAINED else [])
