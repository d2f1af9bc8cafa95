"""The catalogue: names built and taken apart, no metric forgotten by any table, and one added in one place."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dit_scaling.claims.agreement import find_metrics, higher_is_better
from dit_scaling.common.files import read_json
from dit_scaling.config.metrics_settings import (
    ClassifierExtractor,
    CleanExtractor,
    Dinov2Extractor,
    InceptionExtractor,
)
from dit_scaling.config.stages import ScoreSettings, Scoring
from dit_scaling.metrics import catalogue
from dit_scaling.metrics.catalogue import HEADLINE, METRICS, Metric, metric, metric_keys, parse_column
from dit_scaling.metrics.comparison import Comparison, Measure
from dit_scaling.metrics.kept import KeptFiles, Protocol, ReferenceFiles, Seen, save_features, write_kept
from dit_scaling.metrics.moments import RunningMoments, save_moments
from dit_scaling.metrics.score import score_samples
from dit_scaling.plan.statistics_costs import given_by
from dit_scaling.report.page import write_report
from dit_scaling.report.style import head_column
from report_study import StudyFiles, make_study

FEATURES = ("inception", "clean", "dinov2", "classifier64")
SCORING = Scoring(kid_subsets=2, kid_subset_size=20, neighbours=3, bootstrap=10, seed=0)


def median_distance(comparison: Comparison) -> dict[str, float]:
    """A throw-away metric: how far the samples' median lies from the reference's mean."""
    offset = np.median(comparison.samples.features, axis=0) - comparison.reference.moments.mean
    return {"median": float(np.linalg.norm(offset))}


# The recipe of CONTRIBUTING: a function, and a row.
MEDIAN = Metric(
    key="median",
    label="distance of the median",
    unit="unit of the features",
    better="lower",
    column="median_{features}",
    measure=Measure(median_distance, frozenset(), lambda sizes: float(sizes.images * sizes.dim)),
)


@pytest.fixture
def one_more(monkeypatch: pytest.MonkeyPatch) -> Metric:
    """The catalogue with the throw-away row."""
    monkeypatch.setattr(catalogue, "METRICS", (*METRICS, MEDIAN))
    return MEDIAN


@pytest.mark.parametrize("row", METRICS, ids=lambda row: row.key)
@pytest.mark.parametrize("features", FEATURES)
def test_a_column_says_its_metric_its_features_and_its_aside(row: Metric, features: str) -> None:
    if not row.on_any and features != "inception":
        pytest.skip("of Inception's features alone")
    for aside in ("", *row.asides):
        found = parse_column(row.column_on(features, aside))
        assert found is not None
        assert (found.metric.key, found.features, found.aside) == (row.key, features, aside)


def test_columns_have_the_names_they_had() -> None:
    assert [HEADLINE.column_on(features) for features in FEATURES] == [
        "fid",
        "clean_fid",
        "fd_dinov2",
        "fd_classifier64",
    ]
    assert HEADLINE.column_on("clean", "se") == "clean_fid_se"
    assert metric("kid").column_on("inception", "sd") == "kid_inception_sd"
    assert metric("inception_score").column_on("inception", "sd") == "inception_score_sd"
    assert [row.column_on("x") for row in METRICS if row.key in ("sfid", "recall")] == ["sfid", "recall_x"]


@pytest.mark.parametrize(
    "name", ["step", "seed", "n_samples", "extractor_inception", "fidelity", "kid", "resize_clean"]
)
def test_other_columns_are_no_metrics(name: str) -> None:
    assert parse_column(name) is None


@pytest.mark.parametrize("name", ["fid50k", "fid10k", "fid_theirs"])
def test_a_published_fid_is_one(name: str) -> None:
    found = parse_column(name)
    assert found is not None
    assert (found.metric, found.features, found.aside) == (HEADLINE, "inception", "")


def test_keys_differ_and_a_measure_gives_what_its_rows_say() -> None:
    assert len(set(metric_keys())) == len(METRICS)
    columns = [row.column_on(features) for row in METRICS for features in FEATURES if row.on_any]
    assert len(set(columns)) == len(columns)


@pytest.fixture(scope="module", params=["classifier64", "inception"])
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    return make_study(tmp_path_factory.mktemp("study"), features=request.param)


def given(features: str) -> list[Metric]:
    """The rows that features of that name can give."""
    beside = {"spatial features", "logits"} if features == "inception" else {"classes"}
    return [row for row in METRICS if row.measure.needs <= {"reference images", *beside}]


def test_no_metric_is_forgotten_by_table_agreement_or_report(study: StudyFiles, tmp_path: Path) -> None:
    column = parse_column(study.metric)
    assert column is not None
    rows = given(column.features)
    table = pd.read_parquet(study.inputs.table)
    assert set(find_metrics(table)) == {row.column_on(column.features) for row in rows}
    agreement = pd.read_csv(study.inputs.agreement).set_index("metric")
    write_report(study.settings, study.inputs, tmp_path / "report.html")
    variants = pd.read_csv(tmp_path / "tables" / "variants.csv")
    page = (tmp_path / "report.html").read_text()
    for row in rows:
        name = row.column_on(column.features)
        assert higher_is_better(name) == (row.better == "higher")
        assert agreement.loc[name, "higher_is_better"] == (row.better == "higher")
        assert name in variants.columns
        assert row is HEADLINE or head_column(row, column.features) in page


def test_no_metric_is_without_a_price() -> None:
    classifier = ClassifierExtractor(kind="classifier", steps=3)
    others = (InceptionExtractor(kind="inception"), CleanExtractor(kind="clean"), Dinov2Extractor(kind="dinov2"))
    allowed = [given_by(extractor) for extractor in (classifier, *others)]
    for row in METRICS:
        assert any(row.measure.needs <= needs for needs in allowed), row.key


def kept_of(folder: Path, shift: float) -> Path:
    features = np.random.default_rng(0).normal(shift, 1, (40, 4)).astype(np.float32)
    moments = RunningMoments(4)
    moments.update(features)
    folder.mkdir()
    files = KeptFiles.beside(folder / "features.json")
    write_kept(files, Seen(moments, None, features, None), Protocol("rows", "rows", "none", "0" * 64), None, None)
    return files.record


def test_a_metric_added_in_one_place_reaches_score_table_agreement_and_report(one_more: Metric, tmp_path: Path) -> None:
    kept = kept_of(tmp_path / "kept", shift=3.0)
    reference = ReferenceFiles(tmp_path / "moments.npz", tmp_path / "features.npy")
    moments = RunningMoments(4)
    moments.update(np.eye(4))
    save_moments(reference.moments, moments.named("rows"))
    save_features(reference.features, np.empty((0, 4), np.float32))
    settings = ScoreSettings(scoring=SCORING, metrics=metric_keys(), references=("x",), features=("x",))
    assert settings.metrics[-1] == "median"
    score_samples(settings, [kept], [reference], tmp_path / "metrics.json")
    assert read_json(tmp_path / "metrics.json")["median_rows"] == pytest.approx(2 * (3 - 0.25), abs=0.8)

    study = make_study(tmp_path / "study")
    write_report(study.settings, study.inputs, tmp_path / "report.html")
    assert one_more.label in (tmp_path / "report.html").read_text()
    assert "median_classifier64" in set(pd.read_csv(study.inputs.agreement)["metric"])


def test_the_catalogue_and_the_score_stage_need_no_torch() -> None:
    code = (
        "import sys, dit_scaling.metrics.score, dit_scaling.metrics.catalogue\n"
        "assert not {'torch', 'matplotlib', 'pandas', 'scipy.linalg', 'scipy.stats'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
