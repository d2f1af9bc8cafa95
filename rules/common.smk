"""What all rules share: the checked study, the settings of each stage, and the names of its files."""

from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import min_version, validate

from dit_scaling.config import Stages, parse_study
from dit_scaling.data.fingerprint import cached_fingerprint, folder_fingerprint
from dit_scaling.data.sources import check_source
from dit_scaling.errors import UserError
from dit_scaling.provenance import settings_digest
from dit_scaling.report.captions import FIGURES
from dit_scaling.variants import count_gflops

min_version("9.27")

# A config file given on the command line is a study of its own, not a change to the embedded one.
if not workflow.config_settings.configfiles:

    configfile: "config/config.yaml"


try:
    STUDY = parse_study(config)
    validate(config, "../config/study.schema.json")
    if STUDY.data.source == "image_folder":
        check_source(STUDY.data)
    RESULTS = f"results/{STUDY.study}"
    STAGES = Stages(
        STUDY,
        cached_fingerprint(STUDY.data, Path(RESULTS, ".cache", "data-fingerprint.json")),
        folder_fingerprint(Path(STUDY.vae.path)) if STUDY.vae.source == "pretrained" else "",
    )
except UserError as error:
    raise WorkflowError(str(error)) from None

if workflow.is_main_process:
    for warning in STUDY.warnings():
        logger.warning(f"Doubtful setting: {warning}.")

RUN = f"{RESULTS}/{{variant}}/seed-{{seed}}"
STEP = f"{RUN}/step-{{step}}"
EVALUATION = f"{STEP}/guidance-{{guidance}}"
SAMPLES = f"{EVALUATION}/samples/part-{{part}}"
SLUGS = [STUDY.variant(name).slug for name in STUDY.variants]
EXPORTS = STUDY.training.exports
GPUS = int(STUDY.resources.device == "cuda")


pathvars:
    results=RESULTS,
    step=STEP,
    evaluation=EVALUATION,


wildcard_constraints:
    variant=r"DiT-[A-Za-z0-9]+-[0-9]+",
    seed=r"[0-9]+",
    step=r"[0-9]+",
    guidance=r"[0-9]+\.[0-9]+",
    split=r"train|held_out",
    shard=r"[0-9]{5}",
    part=r"[0-9]{5}",


def every_step(file):
    """`file` of every variant, seed and exported step of the study."""
    return expand(f"{STEP}/{file}", variant=SLUGS, seed=STUDY.training.seeds, step=EXPORTS, allow_missing=True)


def every_evaluation(file):
    """`file` of every exported step at every guidance scale."""
    return expand(
        every_step(f"guidance-{{guidance}}/{file}"), guidance=STUDY.sampling.guidance_scales, allow_missing=True
    )


def numbered(patterns, count):
    """Each pattern with {number} as 00000, 00001, ... up to `count`; other wildcards stay."""
    return expand(patterns, number=[f"{number:05d}" for number in range(count)], allow_missing=True)


def gflops_of(slug):
    return count_gflops(STUDY.variant_by_slug(slug), STUDY.latent_size, STUDY.vae.latent_channels)


def run_settings(wildcards):
    return STAGES.train(wildcards.variant, int(wildcards.seed))


def sample_settings(wildcards):
    return STAGES.sample(*evaluation(wildcards))


def score_settings(wildcards):
    return STAGES.fid(*evaluation(wildcards))


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
    """`file` as an input whose rewriting does not repeat a job, unless the job's `record` is outdated.

    Jobs after one that is to run are not asked for reasons of their own, and ancient inputs then hold them back.
    """
    return lambda wildcards: file if is_outdated(record, settings, wildcards) else ancient(file)


def earlier_milestone(wildcards):
    """The export before this one, so that each milestone trains only its own steps."""
    earlier = [step for step in EXPORTS if step < int(wildcards.step)]
    return [f"{RUN}/step-{earlier[-1]}/ema.safetensors"] if earlier else []


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
