from pathlib import Path

from dit_scaling.common.devices import choose_device
from dit_scaling.config.stages import GateSettings
from dit_scaling.health.gates.gate import GateFiles, run_gate
from dit_scaling.health.gates.gate_telling import telling

from _job import job, loggers_of

with job() as snakemake:
    files, resources = snakemake.input, snakemake.resources
    settings, record = GateSettings.parse(snakemake.params.settings), Path(snakemake.output.record)
    # In RESULTS/VARIANT/seed-N/step-N.
    with telling(settings, record.parents[3], loggers_of(resources)) as tell:
        gate = run_gate(
            settings,
            GateFiles(Path(files.raw), Path(files.ema), Path(files.log), Path(files.manifest), Path(files.vae)),
            record,
            Path(snakemake.output.page),
            choose_device(resources.device, jobs_per_gpu=resources.jobs_per_gpu),
        )
        tell(gate)
