"""What all rules share: the checked study, the settings of each stage, and its folders."""

import os
import re
import sys
from pathlib import Path

from snakemake.logging import logger
from snakemake.utils import min_version, validate

from dit_scaling.common.allocator import KEPT_MEMORY
from dit_scaling.data.assets import imported_record, locate_file, locate_vae, needed_assets, open_stages
from dit_scaling.config import parse_study
from dit_scaling.config.sampling_settings import further_in
from dit_scaling.config.complaints import placed
from dit_scaling.config.yaml_file import read_yaml
from dit_scaling.data.sources import check_source
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json
from dit_scaling.common.provenance import recorded_inputs, settings_digest
from dit_scaling.common.surroundings import give_home, name_user
from dit_scaling.latents.imported import require_usable
from dit_scaling.metrics.catalogue import metric_keys
from dit_scaling.metrics.kept import KEPT, LEVELS
from dit_scaling.report.captions import FIGURES, TABLES
from dit_scaling.results.withdrawal import of_other_settings
from dit_scaling.variants import SLUG, count_gflops

min_version("9.27")

# Jobs inherit it, those of a cluster from the Snakemake that runs them there.
for name, value in KEPT_MEMORY.items():
    os.environ.setdefault(name, value)

name_user()
home = give_home(Path("cache/home"))
if home and workflow.is_main_process:
    logger.warning(f"HOME cannot be written: caches go to {home}.")

# Every script imports it. Where the rules come from a hosted repository, Snakemake fetches only what they name.
workflow.source_path("../workflow/scripts/_job.py")

# A Snakefile that takes these rules as a module hands over the config that it has read.
AS_MODULE = not workflow.modifier.is_main_snakefile()
HANDED_OVER = AS_MODULE and bool(config)

# A config file given on the command line is a study of its own, not a change to the embedded one.
COMMANDED = [str(path) for path in workflow.config_settings.configfiles]
CONFIG_FILES = [str(path) for path in workflow.configfiles] if HANDED_OVER else COMMANDED or ["config/config.yaml"]

# Snakemake takes the last of two equal keys, and anything for a config that can be opened.
try:
    for file in CONFIG_FILES if workflow.is_main_process else []:
        read_yaml(Path(file))
except UserError as error:
    logger.error(f"Error: {error}")
    sys.exit(2)

UNDER = [file for file in CONFIG_FILES if file not in COMMANDED]
if HANDED_OVER and COMMANDED and UNDER and workflow.is_main_process:
    logger.warning(
        f"What {', '.join(COMMANDED)} leaves out is that of {', '.join(UNDER)}, which the Snakefile reads too. "
        "For a study of its own, name its file in the Snakefile's configfile: line instead."
    )

if not HANDED_OVER and (AS_MODULE or not COMMANDED):

    configfile: CONFIG_FILES[0]


try:
    # Values given on the command line stand in no file.
    CONFIG_PLACES = [] if workflow.config_settings.config else [Path(file) for file in CONFIG_FILES]
    STUDY = parse_study(config, CONFIG_PLACES)
    # Without defaults: Snakemake would fill in those of the first kind of data and of VAE, whichever the config names.
    validate(config, "../config/study.schema.json", set_default=False)
    require_usable(STUDY)
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
    logger.error(f"Error: {placed(str(error), CONFIG_PLACES)}")
    sys.exit(2)

# A report that is packed here speaks of the settings of now.
if any(word.split("=")[0] == "--report" for word in sys.argv) and of_other_settings(Path(RESULTS), STAGES):
    logger.error(
        f"Error: what {RESULTS} reports was made for other settings. Run the study first, or pack it as it was."
    )
    sys.exit(2)

RUN = f"{RESULTS}/{{variant}}/seed-{{seed}}"
STEP = f"{RUN}/step-{{step}}"
# {apart} is empty for the study's own number of sampling steps, and a folder for a further one: steps-16/
# No pathvar: Snakemake puts no constraint on wildcards in those, and without one nothing matches an empty text.
EVALUATION = f"{STEP}/{STUDY.sampling.folder('{guidance}', '{apart}')}"
FEATURES = f"{EVALUATION}/features"
SAMPLES = f"{EVALUATION}/samples/part-{{part}}"
HEADLINE = f"{RESULTS}/reference/{EXTRACTORS[0]}"
VARIANTS = {variant.slug: variant for variant in map(STUDY.variant, STUDY.variants)}
SLUGS = list(VARIANTS)
TRAINED = [slug for slug, variant in VARIANTS.items() if variant.name in STUDY.trained]
EXPORTS = STUDY.training.exports
GPUS = int(STUDY.resources.device == "cuda")
# As a resource, because it changes no result; Snakemake knows no empty ones.
LOGGERS = "+".join(STUDY.training.loggers) or "none"


pathvars:
    results=RESULTS,
    step=STEP,


wildcard_constraints:
    variant=SLUG,
    seed=r"[0-9]+",
    step=r"[0-9]+",
    apart=r"(steps-[0-9]+/)?",
    guidance=r"[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?",
    split=r"train|held_out",
    shard=r"[0-9]{5}",
    part=r"[0-9]{5}",
    extractor=r"classifier|inception|clean|dinov2",
