"""What all rules share: the checked study, the settings of each stage, and the names of its files."""

from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import min_version, validate

from dit_scaling.config import Stages, parse_study
from dit_scaling.data.fingerprint import cached_fingerprint, folder_fingerprint
from dit_scaling.errors import UserError
from dit_scaling.report.captions import FIGURES
from dit_scaling.variants import count_gflops

min_version("9.27")

# A config file given on the command line is a study of its own, not a change to the embedded one.
if not workflow.config_settings.configfiles:

    configfile: "config/config.yaml"


try:
    STUDY = parse_study(config)
    validate(config, "../config/study.schema.json")
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

RUN = RESULTS + "/{variant}/seed-{seed}"
STEP = RUN + "/step-{step}"
EVALUATION = STEP + "/guidance-{guidance}"
SLUGS = [STUDY.variant(name).slug for name in STUDY.variants]
EXPORTS = STUDY.training.exports
GPUS = int(STUDY.resources.device == "cuda")


wildcard_constraints:
    variant=r"DiT-[A-Za-z0-9]+-[0-9]+",
    seed=r"[0-9]+",
    step=r"[0-9]+",
    guidance=r"[0-9]+\.[0-9]+",
    split=r"train|held_out",
    shard=r"[0-9]{5}",
    part=r"[0-9]{5}",


def every_step(pattern):
    """`pattern` for every variant, seed and exported step of the study."""
    return expand(pattern, variant=SLUGS, seed=STUDY.training.seeds, step=EXPORTS, allow_missing=True)


def every_evaluation(pattern):
    """`pattern` for every exported step at every guidance scale."""
    return expand(every_step(pattern), guidance=STUDY.sampling.guidance_scales, allow_missing=True)


def numbered(patterns, count):
    """Each pattern with {number} as 00000, 00001, ... up to `count`; other wildcards stay."""
    return expand(patterns, number=[f"{number:05d}" for number in range(count)], allow_missing=True)


def gflops_of(slug):
    return count_gflops(STUDY.variant_by_slug(slug), STUDY.latent_size, STUDY.vae.latent_channels)


def run_settings(wildcards):
    return STAGES.train(wildcards.variant, int(wildcards.seed))


def evaluation(stage, wildcards):
    """The settings of one evaluation's `stage`: STAGES.sample or STAGES.fid."""
    return stage(wildcards.variant, int(wildcards.seed), int(wildcards.step), float(wildcards.guidance))


def gathered(stage, worker, files):
    """The input of target rule `stage`: all `files` that rule `worker` makes.

    `--forcerun STAGE` names the target rule, but means the jobs behind it. Snakemake knows no such alias, so
    the worker joins the forced rules here, while the DAG is built and before it is decided what runs.
    """

    def files_of_stage(wildcards):
        if stage in workflow.dag_settings.forcerun:
            workflow.dag.forcerules.add(workflow.get_rule(worker))
        return files

    return files_of_stage
