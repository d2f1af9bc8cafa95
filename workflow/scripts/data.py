from pathlib import Path

from dit_scaling.config.stages import DataSettings
from dit_scaling.data.facts import write_data_facts

from _job import job, record_provenance

with job() as snakemake:
    settings = DataSettings.parse(snakemake.params.settings)
    write_data_facts(settings, Path(snakemake.output.facts))
    record_provenance(snakemake, settings)
