"""``claims``: verdicts about a table of metrics."""

from pathlib import Path
from typing import Annotated

import typer

from dit_scaling.cli.options import JsonOption, tell_json
from dit_scaling.common.errors import UserError


def claims(
    table: Annotated[
        Path | None, typer.Argument(help="CSV or Parquet: variant, size, patch, params_m, gflops, a metric.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Column to judge; fid50k, or the only fid*/fd_* column.")] = None,
    decoded_noise: Annotated[float | None, typer.Option(help="The same metric on decoded Gaussian noise.")] = None,
    published: Annotated[
        str | None, typer.Option(help="A published family, as SiT, or all: what the field's own figures say.")
    ] = None,
    families: Annotated[
        list[str] | None, typer.Option(help='Also that one family is better at equal Gflops: "DiT@flow over DiT".')
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge the paper's claims on a table of metrics, or on published families of models."""
    from dit_scaling.claims import evaluate_claims, read_metrics_table
    from dit_scaling.common.seals import check_seals

    if (table is None) == (published is None):
        raise UserError("Give a table of metrics, or --published FAMILY, and not both.")
    if published and (metric or decoded_noise or families or as_json):
        raise UserError(
            "--published tells of published FIDs in words: leave --metric, --decoded-noise, --families and --json out."
        )
    if table is None:
        from dit_scaling.laws.field_text import describe_published

        typer.echo(describe_published(str(published)))
        return
    check_seals([table])
    claimed = [(better, than) for better, over, than in (text.partition(" over ") for text in families or ()) if over]
    if len(claimed) < len(families or ()):
        raise UserError(f'--families {families}: name each claim like "DiT@flow over DiT".')
    rows = read_metrics_table(table, metric)
    report = evaluate_claims(rows, metric, decoded_noise=decoded_noise, families=claimed).to_dict()
    if as_json:
        tell_json(report)
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
