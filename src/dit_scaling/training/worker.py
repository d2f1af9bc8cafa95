"""One rank of a training job; torchrun starts it as `python -m dit_scaling.training.worker JOB.json`.

How it ended is left beside the job's file: `error-RANK` holds a message for people, `interrupted` says that it
was asked to stop and the state was saved.
"""

import logging
import os
import sys
from pathlib import Path

from dit_scaling.common.errors import UserError
from dit_scaling.training.launch import RANK_LINE, TrainJob
from dit_scaling.training.loop import train_to
from dit_scaling.training.ranks import torchrun_ranks
from dit_scaling.training.runtime import Interrupted


def run(job_file: Path) -> None:
    """Run a job as the rank that the environment says this process is."""
    rank = os.environ["RANK"]
    level = logging.INFO if rank == "0" else logging.WARNING
    logging.basicConfig(level=level, format=f"{RANK_LINE}{rank}: %(message)s")
    job = TrainJob.read(job_file)
    try:
        with torchrun_ranks(job.runtime.device.type) as (ranks, device):
            runtime = job.runtime.model_copy(update={"device": device})
            train_to(job.settings, job.manifest, job.last_step, job.states, runtime, ranks)
    except UserError as error:
        job_file.with_name(f"error-{rank}").write_text(str(error))
        sys.exit(2)
    except Interrupted:
        job_file.with_name("interrupted").touch()
        raise


if __name__ == "__main__":
    run(Path(sys.argv[1]))
