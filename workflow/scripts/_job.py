"""What every script shares: its log, its device, and errors that people can read.

A script also runs alone, for a debugger: `python workflow/scripts/score_samples.py FILE` builds the job
that makes FILE, as Snakemake would, without running the jobs before it.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import disk_faults_named, remove_leftovers_of
from dit_scaling.common.lacking_memory import fixed_memory_named
from dit_scaling.common.provenance import write_provenance
from dit_scaling.common.seals import check_seals, forget, seal
from dit_scaling.results.job_records import recorded

FORMAT = "%(asctime)s %(levelname)s %(message)s"


@contextmanager
def job() -> Iterator[Any]:
    """Yield the job's `snakemake` object, with its log set up; a UserError is logged and ends with exit code 2.

    What it reads must be as the jobs before left it, and what it leaves is sealed once it is done: see `seals`.
    The log goes to the job's log file, to a history that no rerun deletes, and to the terminal, there only its warnings
    where Snakemake itself is quiet.
    """
    snakemake = _snakemake()
    declared = Path(snakemake.log[0])
    history = declared.with_suffix(".history.log")
    log = logging.getLogger(snakemake.rule)
    # A full disk loses lines of the log files; without this each would be a traceback on the terminal.
    logging.raiseExceptions = False
    logging.basicConfig(level=logging.INFO, format=FORMAT, force=True)
    if os.environ.get("DIT_SCALING_QUIET"):
        logging.getLogger().handlers[0].setLevel(logging.WARNING)
    try:
        with disk_faults_named(declared):
            history.parent.mkdir(parents=True, exist_ok=True)
            for file in (logging.FileHandler(declared, mode="w"), logging.FileHandler(history)):
                file.setFormatter(logging.Formatter(FORMAT))
                logging.getLogger().addHandler(file)
        results = Path("results", snakemake.config["study"])
        outputs = [Path(file) for file in snakemake.output]
        record = recorded(results, snakemake.rule, dict(snakemake.wildcards.items()), outputs[0], declared)
        with record, disk_faults_named(outputs[0]), fixed_memory_named(f"the job of rule {snakemake.rule}"):
            check_seals(Path(file) for file in snakemake.input)
            for output in outputs:
                forget(output)
                remove_leftovers_of(output)
                remove_leftovers_of(output.parent)
            yield snakemake
            seal(outputs, results)
    except UserError as error:
        log.error("%s: %s", snakemake.rule, error)
        sys.exit(2)
    except KeyboardInterrupt:
        log.warning("%s: stopped at the keyboard.", snakemake.rule)
        sys.exit(130)
    except Exception:
        log.exception("%s failed; the log is kept in %s", snakemake.rule, history)
        raise


def _snakemake() -> Any:
    """The object that Snakemake puts into a script, or that of the job named on the command line."""
    script = sys.modules["__main__"]
    if hasattr(script, "snakemake"):
        return script.snakemake
    from _mock import mock_from_command_line

    return mock_from_command_line()


def record_provenance(snakemake: Any, settings: Any, device: str = "cpu", **facts: Any) -> None:
    """Write the provenance file that the rule declares: settings, digest, inputs' hashes, versions, device, facts."""
    write_provenance(
        Path(snakemake.output.provenance),
        settings_digest=settings.digest,
        settings=settings.stored(),
        inputs=[Path(path) for path in snakemake.input],
        device=device,
        facts=facts,
    )


def training_runtime(resources: Any, precision: str) -> tuple[Any, str]:
    """The `Runtime` of a job of a rule that trains, and its devices in words."""
    from dit_scaling.common.devices import choose_device, describe_device
    from dit_scaling.plan.peaks import peak_of
    from dit_scaling.training.runtime import Runtime

    device = choose_device(resources.device, resources.ranks, resources.jobs_per_gpu)
    named = describe_device(device, resources.ranks * resources.nodes)
    runtime = Runtime(
        device=device,
        save_minutes=resources.save_minutes,
        save_steps=resources.save_steps,
        log_seconds=resources.log_seconds,
        micro_batch=resources.micro_batch,
        jobs_per_gpu=resources.jobs_per_gpu,
        loggers=loggers_of(resources),
        peak_tflops=peak_of(named, precision),
    )
    return runtime, named


def loggers_of(resources: Any) -> tuple[Any, ...]:
    """The loggers that a rule names among its resources, which change no result."""
    return tuple(resources.loggers.split("+")) if resources.loggers != "none" else ()


def paths(files: Any) -> list[Path]:
    """Snakemake's file names as paths; a single name counts as a list of one."""
    return [Path(files)] if isinstance(files, str) else [Path(file) for file in files]
