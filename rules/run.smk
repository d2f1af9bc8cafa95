"""Around the jobs: whose run this is, results of other settings, signals, and a report of what is there."""


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
