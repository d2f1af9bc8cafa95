"""Tables of what the study cost, and of how to run its stages again."""

from pathlib import Path

import pandas as pd

from dit_scaling.common.errors import UserError
from dit_scaling.common.progress import describe_seconds
from dit_scaling.common.stage_words import Stage
from dit_scaling.config.study import Study
from dit_scaling.plan.peaks import peak_of
from dit_scaling.report.measurements import Measurements
from dit_scaling.report.numbers import MISSING, describe_number
from dit_scaling.report.style import order_variants
from dit_scaling.report.table import Column, Table, number, words

PARTS: dict[str, Stage] = {
    "data": "data",
    "vae": "vae",
    "encode_shard": "latents",
    "latents": "latents",
    "preflight": "preflight",
    "extractor": "reference",
    "reference": "reference",
    "levels": "reference",
    "train": "train",
    "gate": "gate",
    "losses": "losses",
    "sample": "sample",
    "features": "features",
    "score": "score",
    "memorisation": "score",
    "aggregate": "report",
    "figures": "report",
}
"""Records of time in the order of the data, by their names, and the stage that each is part of."""

RERUNS = {
    "vae": "train or adopt the VAE, and all that follows",
    "encode_shard": "encode the latents",
    "train": "resume training, and export again",
    "sample": "draw the samples again",
    "features": "extract the samples' features again",
    "score": "score the features again, without sampling or extracting",
    "aggregate": "join the metrics and judge the claims again",
    "figures": "draw the figures again",
    "report": "write this page again",
}


def tabulate_costs(measured: Measurements, study: Study) -> Table:
    """Time, device, throughput and utilisation of training one variant to the last common step; means over seeds.

    A multiply-add counts as two operations. Utilisation is their rate over the device's peak in the precision of
    training (``dit_scaling.plan.peaks``), without what is computed beside forward and backward pass.
    """
    rows = measured.rows[measured.rows["step"] == measured.final["step"].iloc[0]]
    data = order_variants(measured.final)[["variant", "step", "train_gflops"]]
    data = data.merge(rows.groupby("variant")["train_seconds"].mean().reset_index(), on="variant")
    devices = [sorted(set(rows.loc[rows["variant"] == name, "device"])) for name in data["variant"]]
    data["devices"] = [", ".join(names) for names in devices]
    data["steps_per_second"] = data["step"] / data["train_seconds"]
    data["images_per_second"] = data["steps_per_second"] * study.training.batch_size
    data["gflop_per_second"] = 2 * data["train_gflops"] / data["train_seconds"]
    peaks = [peak_of(names[0], study.training.precision) if len(names) == 1 else None for names in devices]
    data["peak_tflop_per_second"] = pd.Series(peaks, index=data.index, dtype="float64")
    data["utilisation"] = data["gflop_per_second"] / (1000 * data["peak_tflop_per_second"])
    columns = (
        words("variant"),
        words("device", "devices", narrow=False),
        number("training time", "train_seconds", lambda value: describe_seconds(value) if value > 0 else MISSING),
        number("steps/s", "steps_per_second", describe_number, narrow=False),
        number("images/s", "images_per_second", describe_number, narrow=False),
        number("training compute (1e9 mult-adds)", "train_gflops", describe_number, narrow=False),
        number("GFLOP/s achieved", "gflop_per_second", describe_number, narrow=False),
        Column(
            "utilisation",
            lambda row: "peak unknown" if pd.isna(row["utilisation"]) else f"{row['utilisation']:.1%} of its peak",
            sort=lambda row: row["utilisation"],
        ),
    )
    return Table("costs", data, columns)


def tabulate_stages(times: Path) -> Table:
    """Wall time of each stage's jobs, from the records ``PART.tsv`` and ``PART/**/*.tsv`` below ``times``.

    A record has one row with the columns ``s``, seconds of the job's last attempt, and ``max_rss``, its peak memory in
    MiB. Parts without records are left out.

    Raises:
        UserError: a record is no such table.
    """
    rows = []
    for part, stage in PARTS.items():
        records = [path for path in (times / f"{part}.tsv", *sorted((times / part).rglob("*.tsv"))) if path.exists()]
        if records:
            jobs = pd.concat([_read_record(path) for path in records])
            total, longest, memory = jobs["s"].sum(), jobs["s"].max(), jobs["max_rss"].max()
            rows.append((stage, part, len(jobs), total, longest, memory))
    data = pd.DataFrame(rows, columns=["stage", "part", "jobs", "seconds", "longest_job_seconds", "peak_memory_mib"])
    columns = (
        words("stage"),
        words("part"),
        number("jobs"),
        number("wall time, all jobs", "seconds", describe_seconds),
        number("longest job", "longest_job_seconds", describe_seconds, narrow=False),
        number("peak memory of a job (MiB)", "peak_memory_mib", narrow=False),
    )
    return Table("stages", data.round({"peak_memory_mib": 0}), columns)


def tabulate_commands(study: Study) -> Table:
    """How to run each stage again."""
    variant = study.variant(study.variants[0]).slug
    one = (
        f"results/{study.study}/{variant}/seed-{study.training.seeds[0]}/step-{study.training.exports[-1]}"
        f"/{study.sampling.folder(str(study.sampling.guidance_scales[0]))}/metrics.json"
    )
    rows = [(text, f"snakemake --cores 2 --forcerun {stage}") for stage, text in RERUNS.items()]
    rows.append(("score one variant again", f"snakemake --cores 2 --force {one}"))
    return Table("commands", pd.DataFrame(rows, columns=["to", "command"]), (words("to"), words("command")))


def _read_record(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, sep="\t", na_values=["NA", "-"])[["s", "max_rss"]].astype(float)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is no record of a job's time ({error}). Delete it.") from None
