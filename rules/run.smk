"""Around the jobs: whose run this is, results of other settings, signals, and a report of what is there."""

import shutil
import tempfile

from dit_scaling.results.run_control import drop_stale_locks, name_user, note_runner, pass_on_stops
from dit_scaling.results.withdrawal import withdraw

name_user()

# Jobs of SLURM that nothing could submit; a dry run plans them anywhere.
if workflow.is_main_process and not {"-n", "--dry-run", "--dryrun"} & set(sys.argv):
    given = str(getattr(workflow.resource_settings.default_resources, "args", ""))
    for resources in workflow.resource_settings.overwrite_resources.values():
        given += "".join(f" {getattr(value, 'raw', value)} " for value in resources.values())
    left = [word for word in ("ACCOUNT", "PARTITION", "TYPE") if re.search(rf"\b{word}\b", given)]
    if "slurm_partition" in given and left:
        logger.error(f"Error: {', '.join(left)} still to be set in the first block of slurm/config.yaml, or your copy.")
        sys.exit(2)
    if "slurm_partition" in given and not shutil.which("sbatch"):
        logger.error("Error: there is no sbatch here. Start --profile slurm on a node that can submit jobs.")
        sys.exit(2)

if workflow.is_main_process:
    try:
        with tempfile.TemporaryFile() as scratch:
            scratch.write(bytes(1 << 20))
    except OSError as error:
        logger.error(
            f"Error: no temporary file can be written: {error.strerror}. Make room, or set TMPDIR to a folder."
        )
        sys.exit(2)
    runner = drop_stale_locks(Path(RESULTS), Path(".snakemake/locks"))
    if runner:
        logger.warning(f"The lock of process {runner.pid}, which ran {RESULTS} here and is gone, is removed.")
    for warning in STUDY.warnings():
        logger.warning(f"Doubtful setting: {warning}.")


onstart:
    note_runner(Path(RESULTS))
    # Training lasts for days; all other jobs end soon, or begin again from their start.
    pass_on_stops("train_milestone.py")
    withdrawn = withdraw(Path(RESULTS), STAGES)
    if withdrawn:
        logger.warning(
            f"Verdicts and report in {RESULTS} are of other settings than now; they are moved to {withdrawn}."
        )


onsuccess:
    shutil.rmtree(f"{RESULTS}/partial", ignore_errors=True)


onerror:
    # Loads what draws figures, which a run without faults leaves to its jobs.
    from dit_scaling.report.partial import write_partial_report

    try:
        partial = write_partial_report(STUDY, STAGES, Path(RESULTS))
    except UserError as error:
        logger.error(f"Error: {error}")
        partial = None
    if partial:
        page, failures = partial
        for failure in failures:
            logger.error(f"Failed: {failure.output} ({failure.rule}): {failure.failure}. Its log: {failure.log}")
        logger.error(f"{page} names what failed, and shows what is there.")


# Snakemake forgets the handlers of a module. A Snakefile with handlers of its own calls MODULE.onstart() and so on in them.
if AS_MODULE:
    for handler in ("onstart", "onsuccess", "onerror"):
        if handler not in workflow.modifier_stack[0].globals:
            setattr(workflow, f"_{handler}", globals()[handler].func)
