"""A finished study as its folder of results tells it, for a comparison with others."""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from dit_scaling.claims import read_metrics_table
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import canonical_json, read_json
from dit_scaling.config.stages import AggregateSettings
from dit_scaling.config.study import Study
from dit_scaling.metrics.catalogue import parse_column
from dit_scaling.plan.reach import read_study

NOT_COMPARED = {"study", "resources", "keep", "deviations"}
"""Sections of a config that say nothing of what was studied."""


@dataclass(frozen=True)
class FinishedStudy:
    """Config, verdicts, table of metrics and times of a study."""

    results: Path
    study: Study
    claims: dict[str, Any]
    """As claims.json has them."""
    table: pd.DataFrame
    """The table of metrics at the first guidance scale, all steps."""

    @property
    def name(self) -> str:
        return self.study.study

    @property
    def metric(self) -> str:
        """Column of the metric that the claims were judged by."""
        return str(self.claims["metric"])

    @cached_property
    def yardstick(self) -> dict[str, str]:
        """What a distance of the study is measured with; two distances mean the same only where all of it is equal."""
        column = parse_column(self.metric)
        features = column.features if column else ""
        names = {
            "metric": None,
            "samples": "n_samples",
            "features": f"extractor_{features}",
            "weights of the features": f"weights_sha256_{features}",
            "reference": f"reference_sha256_{features}",
            "resizing": f"resize_{features}",
            "quantiser": "quantiser",
        }
        held = {
            what: ", ".join(sorted(map(str, self.table[name].unique())))
            for what, name in names.items()
            if name is not None and name in self.table.columns
        }
        return {"metric": self.metric, **held}

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Keys of the config, written a.b.c, with their values."""
        return dict(_flat({key: value for key, value in self.study.stored().items() if key not in NOT_COMPARED}))

    @cached_property
    def hours(self) -> dict[str, float]:
        """Hours of all jobs of each stage together, as they took; empty where the times are not there."""
        found: dict[str, float] = {}
        for path in sorted((self.results / "times").rglob("*.tsv")):
            stage = path.relative_to(self.results / "times").parts[0].removesuffix(".tsv")
            with path.open() as stream:
                seconds = sum(float(row["s"]) for row in csv.DictReader(stream, delimiter="\t"))
            found[stage] = found.get(stage, 0.0) + seconds / 3600
        return found


def read_finished(results: Path) -> FinishedStudy:
    """The study whose results are in a folder.

    Raises:
        UserError: it is not finished, or a file is not what it should be.
    """
    record, claims, table = (results / name for name in ("provenance.json", "claims.json", "metrics.parquet"))
    for path in (record, claims, table):
        if not path.is_file():
            if (results / "losses-provenance.json").is_file() and read_study(results).laws:
                raise UserError(
                    f"{results}: a study with `laws` has no distances and no claims to compare. What it found: "
                    f"dit-scaling laws {results}."
                )
            raise UserError(f"{path} does not exist: {results} holds no finished study. Run it first.")
    try:
        study = AggregateSettings.parse(canonical_json(read_json(record)["settings"])).study
        verdicts = read_json(claims)
        metric, _ = str(verdicts["metric"]), verdicts["claims"]
    except (KeyError, TypeError, ValidationError) as error:
        raise UserError(f"{results}: provenance.json or claims.json is of another version ({error!r}).") from None
    return FinishedStudy(results, study, verdicts, read_metrics_table(table, metric, study.sampling.guidance_scales[0]))


def _flat(value: Any, key: str = "") -> list[tuple[str, Any]]:
    """The leaves of nested mappings, by their keys written a.b.c; lists are leaves."""
    if not isinstance(value, dict) or not value:
        return [(key, value)]
    return [leaf for name, inner in value.items() for leaf in _flat(inner, f"{key}.{name}" if key else str(name))]
