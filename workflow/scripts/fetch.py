from pathlib import Path

from dit_scaling.data.assets import Asset
from dit_scaling.data.fetch import fetch

from _job import job

with job() as snakemake:
    params = snakemake.params
    fetch(Asset(snakemake.wildcards.asset, params.url, params.sha256), Path(params.cache))
