"""The `snakemake` object of a job without Snakemake running it, for a debugger or a test."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.exceptions import MissingRuleException, WorkflowError
from snakemake.iocontainers import Snakemake
from snakemake.settings.enums import Quietness
from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

from dit_scaling.common.errors import UserError

SNAKEFILE = Path(__file__).resolve().parents[1] / "Snakefile"


def mock_from_command_line() -> Any:
    """`mock_snakemake` for `python SCRIPT FILE [--configfile CONFIG]`; exits with code 2 on bad arguments."""
    script = Path(sys.argv[0])
    parser = argparse.ArgumentParser(description=f"Run {script.name} as in the job that makes FILE.")
    parser.add_argument("file", metavar="FILE", help="an output of that job, as `snakemake FILE` would name it")
    parser.add_argument("--configfile", action="append", default=[], metavar="CONFIG", help="as for snakemake")
    arguments = parser.parse_args()
    try:
        return mock_snakemake(arguments.file, script.name, [Path(path) for path in arguments.configfile])
    except UserError as error:
        parser.error(str(error))


def mock_snakemake(target: str, script: str, configfiles: Sequence[Path] = ()) -> Any:
    """What Snakemake would hand to ``script`` in the job that makes ``target``; no other job is looked at.

    The folders of outputs and logs are made, existing outputs stay. Profiles are not read.

    Args:
        target: a file as the rules name it, relative to the working directory.
        script: file name of the script that is to run.
        configfiles: instead of config/config.yaml.

    Raises:
        UserError: the config is bad, no rule makes ``target``, another script does, or its inputs do not exist.
    """
    with SnakemakeApi(OutputSettings(quiet=frozenset({Quietness.ALL}))) as api:
        flow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=tuple(path.absolute() for path in configfiles)),
            snakefile=SNAKEFILE,
        )
        try:
            # Snakemake's public interface runs whole workflows; one job alone is to be had from inside only.
            workflow = flow.dag().workflow_api._workflow
            workflow._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True, nolock=True)
            (job,) = workflow.async_run(workflow.dag.file2jobs(target))
            _check(job, target, script)
            return Snakemake(
                job.input,
                job.output,
                job.params,
                job.wildcards,
                job.threads,
                job.resources,
                job.log,
                workflow.config,
                job.rule.name,
                None,
                str(SNAKEFILE.parent / "scripts"),
            )
        except MissingRuleException:
            raise UserError(f"no rule makes {target}. `snakemake --summary` lists what the rules make.") from None
        except (WorkflowError, OSError) as error:
            raise UserError(str(error)) from None


def _check(job: Any, target: str, script: str) -> None:
    """See that ``script`` is the job's and can start; make the folders of what it writes, as Snakemake does."""
    made_by = Path(job.rule.script).name if job.rule.script else f"rule {job.rule.name}, which has no script"
    if made_by != script:
        raise UserError(f"{target} is made by {made_by}, not by {script}.")
    missing = [path for path in job.input if not Path(path).exists()]
    if missing:
        raise UserError(f"{script} needs {missing[0]}, which does not exist. Run first: snakemake {missing[0]}")
    for path in (*job.output, *job.log):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
