"""When a job runs again: settings, records and files beyond what Snakemake itself remembers."""


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
