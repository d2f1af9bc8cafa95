"""When a job runs again: settings, records and files beyond what Snakemake itself remembers."""


def is_outdated(record, settings, wildcards):
    """Whether the JSON `record` beside a result says that it was made with other settings than now.

    Snakemake's own memory of params is gone with the folder .snakemake, and it is not asked while a job upstream is to
    run. Our record holds the digest of the settings of its stage and of all stages before it.
    """
    path = Path(record.format(**wildcards))
    return path.exists() and settings_digest(path) != settings(wildcards).digest


def is_made(record, settings, wildcards):
    """Whether the job's `record` is there, and of the settings of now."""
    return Path(record.format(**wildcards)).exists() and not is_outdated(record, settings, wildcards)


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
        return ancient(file) if is_made(record, settings, wildcards) else file

    return settled_file


def as_made(names, files, record, settings, stages):
    """`files` as inputs of a job that is still to be done; of one that is done, those named so that its `record` names.

    What a job waits for may change with the study, as stops and gates that are added. A result stays the one that it is, so
    its inputs stay those that it was made with, and their rewriting does not repeat it, unless one of the `stages` that
    the job is known by is forced.
    """

    def files_as_made(wildcards):
        if not is_made(record, settings, wildcards):
            return files(wildcards)
        made_with = recorded_inputs(Path(record.format(**wildcards)))
        kept = [file for file in sorted(made_with) if Path(file).name in names]
        return kept if is_forced(record, stages, wildcards) else ancient(kept)

    return files_as_made


def is_forced(record, stages, wildcards):
    """Whether one of the `stages`, or a file beside `record`, is named by --forcerun.

    Snakemake does not ask a job after one that is to run whether it is forced, and ancient inputs would hold it back.
    """
    folder = Path(record.format(**wildcards)).parent
    return any(name in stages or Path(name).parent == folder for name in workflow.dag_settings.forcerun)


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
