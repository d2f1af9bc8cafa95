"""Around the jobs: whose run this is, results of other settings, signals, and a report of what is there."""

import shutil
import time

from dit_scaling.common.lacking_memory import refuse_little_address_space
from dit_scaling.common.progress import describe_seconds
from dit_scaling.results.gate_findings import broken_runs, read_gates
from dit_scaling.results.run_control import drop_stale_locks, note_runner, pass_on_stops
from dit_scaling.results.withdrawal import withdraw

# Beside this file, which another Snakefile may include, or take from a hosted repository.
told_by = [Path(workflow.source_path(f"../workflow/{name}.py")) for name in ("run_lines", "growing_report")]
sys.path.append(str(told_by[0].parent))
from run_lines import RunLines, be_quiet, respect_no_color

PARTIAL = Path(RESULTS) / "partial"
BEGAN = time.monotonic()
GROWING = []
TOLD = workflow.output_settings

if workflow.is_main_process and not TOLD.dryrun:
    respect_no_color(logger)
    if not TOLD.verbose:
        be_quiet(logger)

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

if (workflow.is_main_process or workflow.remote_exec) and not {"-n", "--dry-run", "--dryrun"} & set(sys.argv):
    try:
        refuse_little_address_space()
    except UserError as error:
        logger.error(f"Error: {error}")
        sys.exit(2)

if workflow.is_main_process:
    runner = drop_stale_locks(Path(RESULTS), Path(".snakemake/locks"))
    if runner:
        logger.warning(f"The lock of process {runner.pid}, which ran {RESULTS} here and is gone, is removed.")
    for warning in STUDY.warnings():
        logger.warning(f"Doubtful setting: {warning}.")


def watch_run():
    """Tell each job that is done and the time left, and have the report grow."""
    from dit_scaling.plan.time_left import Work, price_study
    from growing_report import GrowingReport

    jobs = {
        job.jobid: Work(job.rule.name, tuple(str(file).removeprefix(f"{RESULTS}/") for file in job.output))
        for job in workflow.dag.needrun_jobs()
        if job.output
    }
    GROWING.append(GrowingReport(STUDY, PARTIAL / "report.html", logger))
    lines = not TOLD.verbose and not TOLD.quiet
    logger.addHandler(
        RunLines(Path(RESULTS), jobs, price_study(STUDY, STAGES, image_count()), lines, GROWING[0].after_job)
    )


def tell_end():
    """What is broken, and how long it took; the report so far is no longer written."""
    for growing in GROWING:
        growing.stop()
    for found in broken_runs(read_gates(STUDY, STAGES, Path(RESULTS))):
        logger.error(found.warning)
    logger.info(f"Took {describe_seconds(time.monotonic() - BEGAN)}.")


onstart:
    watch_run()
    note_runner(Path(RESULTS))
    # Training lasts for days; all other jobs end soon, or begin again from their start.
    pass_on_stops("train_and_measure" if STUDY.laws else "train_milestone")
    withdrawn = withdraw(Path(RESULTS), STAGES)
    if withdrawn:
        logger.warning(
            f"Verdicts and report in {RESULTS} are of other settings than now; they are moved to {withdrawn}."
        )


onsuccess:
    tell_end()
    shutil.rmtree(PARTIAL, ignore_errors=True)
    page, claims = Path(RESULTS) / "report.html", Path(RESULTS) / "claims.json"
    if page.exists() and claims.exists() and not of_other_settings(Path(RESULTS), STAGES):
        from dit_scaling.report.verdict_lines import describe_outcome

        for line in describe_outcome(claims, STUDY.variants):
            logger.info(line)
        logger.info(f"The report: {page}")


onerror:
    tell_end()
    # Loads what draws figures, which a run without faults leaves to its jobs.
    from dit_scaling.report.partial import write_partial_report

    try:
        partial = None if STUDY.laws else write_partial_report(STUDY, STAGES, Path(RESULTS))
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
