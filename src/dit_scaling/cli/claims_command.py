"""``claims``: verdicts about a table of metrics."""

import json
from pathlib import Path
from typing import Annotated

import typer


def claims(
    table: Annotated[Path, typer.Argument(help="CSV or Parquet: variant, size, patch, params_m, gflops, a metric.")],
    metric: Annotated[str | None, typer.Option(help="Column to judge; fid50k, or the only fid*/fd_* column.")] = None,
    decoded_noise: Annotated[float | None, typer.Option(help="The same metric on decoded Gaussian noise.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of sentences.")] = False,
) -> None:
    """Judge the paper's claims on a table of metrics."""
    from dit_scaling.claims import evaluate_claims, read_metrics_table
    from dit_scaling.common.seals import check_seals

    check_seals([table])
    report = evaluate_claims(read_metrics_table(table, metric), metric, decoded_noise=decoded_noise).to_dict()
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    typer.echo(f"Noise: {report['noise']}.")
    for claim in report["claims"]:
        typer.echo(f"Claim {claim['claim']}: {claim['words']}. {claim['statement']}. {claim['reason']}")
        alone = [pair for pair in claim["comparisons"] if pair["outcome"] == "unresolved"]
        if alone:
            pairs = ", ".join(f"{pair['favoured']} and {pair['other']}" for pair in alone)
            typer.echo(f"  Unresolved alone: {pairs}.")
        for pair in claim["exceptions"]:
            better, worse = (
                f"{pair[which]} ({pair[f'gflops_{which}']:.4g} Gflops, {pair[f'metric_{which}']:.4g})"
                for which in ("better", "worse")
            )
            typer.echo(f"  Exception, {pair['kind']}: {better} is better than {worse}.")
    for note in report["assumptions"]:
        typer.echo(f"Assumed: {note}.")
