"""Inputs, priorities and memory that follow from wildcards and from the study."""

from functools import cache


def given_vae(wildcards):
    """Configuration of a given VAE, whose folder is the VAE; and the other files of it that are fetched."""
    fetched = [CACHE / name for name in ASSETS if (CACHE / name).parent == VAE]
    return [ancient(str(path)) for path in fetched or [VAE / "config.json"]] if VAE else []


def imported_latents(wildcards):
    """The record of imported latents, where the study uses some in the place of encoding."""
    return ancient(str(imported_record(STUDY))) if STUDY.latents.source else []


def gflops_of(slug):
    return count_gflops(VARIANTS[slug], STUDY.latent_size, STUDY.vae.latent_channels)


COSTS = {slug: rank for rank, slug in enumerate(sorted(VARIANTS, key=gflops_of), 1)}


def costliest_first(wildcards):
    """Start the variants with most Gflops first, so that none is left to run alone at the end."""
    return COSTS[wildcards.variant]


TRAINING_STAGES = ("train", "train_milestone")


def steps_before(wildcards):
    """The stops of the run before this one, ascending."""
    return [step for step in stops_of(wildcards.variant) if step < int(wildcards.step)]


def earlier_stops():
    """The record of every stop before this one, so that a run's training jobs train only their own steps, one at a time.

    Of every stop and not only of the last before it: where that is done, it waits for none that was added before it.
    """

    def records_of_stops(wildcards):
        return [f"{RUN}/step-{step}/provenance.json" for step in steps_before(wildcards)]

    # Earlier versions waited for weights.
    return as_made(
        {"provenance.json", "ema.safetensors"},
        records_of_stops,
        f"{STEP}/provenance.json",
        run_settings,
        TRAINING_STAGES,
    )


def gate_before():
    """The gate of the stop before this one, where it can stop the run."""

    def gate_of_stop(wildcards):
        before = steps_before(wildcards)[-1:] if STUDY.training.gates == "stop" else []
        return [f"{RUN}/step-{step}/gate.json" for step in before]

    return as_made({"gate.json"}, gate_of_stop, f"{STEP}/provenance.json", run_settings, TRAINING_STAGES)


@cache
def image_count():
    """Number of images; counted once, and not at all where the data stage has counted them."""
    from dit_scaling.plan.command import look_at

    facts = Path(RESULTS) / "data" / "data.json"
    return read_json(facts)["images"] if facts.exists() else look_at(STUDY.data)[0]


def training_memory(wildcards):
    """Megabytes that a cluster's scheduler is asked for."""
    from dit_scaling.plan.space import training_mb

    return training_mb(STUDY, VARIANTS[wildcards.variant], image_count())


def every_gate():
    """The record of every gate; none where gates are off."""
    steps = [] if STUDY.training.gates == "off" else STUDY.training.stops
    return expand(f"{STEP}/gate.json", variant=TRAINED, seed=STUDY.training.seeds, step=steps)


def preflight_of(record, settings):
    """Preflight, as an input of jobs that use what was trained; given weights have none.

    Training jobs that are settled pass nothing on of a preflight that runs again, while Snakemake asks no job after it for
    reasons of its own: so those that are outdated wait for it themselves.
    """
    file = settled(f"{RESULTS}/preflight/preflight.json", record, settings)
    return lambda wildcards: file(wildcards) if wildcards.variant in TRAINED else []


def weights(wildcards):
    """The weights that are sampled: given ones, or those exported at the step."""
    given = GIVEN.get(VARIANTS[wildcards.variant].name)
    return ancient(str(given)) if given else f"{STEP}/ema.safetensors"


def gate_of_weights(record, settings):
    """The gate of the weights that are sampled, where it can stop them; given weights have none."""

    def gate_of_step(wildcards):
        stops = STUDY.training.gates == "stop" and wildcards.variant in TRAINED
        return [f"{STEP}/gate.json"] if stops else []

    return as_made({"gate.json"}, gate_of_step, record, settings, ("sample", "sample_part"))


def given_file(key):
    """The `weights` or the `reference` that the config gives for an extractor, where it does."""
    return lambda wildcards: ancient(FEATURE_FILES.get((wildcards.extractor, key), []))


def kept_weights(file):
    """The exports of a run, but those that `dit-scaling clean` deleted before the run's losses knew them.

    A finished study of an earlier version is measured without training again for what it no longer has.
    """

    def weights_of_run(wildcards):
        measured = recorded_inputs(Path(RUN.format(**wildcards), "losses.provenance.json"))
        name = VARIANTS[wildcards.variant].name
        paths = [Path(STEP.format(**wildcards, step=step), file) for step in STUDY.exports(name)]
        trained = [path for path in paths if path.with_name("provenance.json").exists()]
        return [str(path) for path in paths if path not in trained or path.exists() or str(path) in measured]

    return weights_of_run
