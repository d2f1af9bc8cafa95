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
    guidance_scale: Annotated[
        float | None, typer.Option(help="Scale whose rows are judged; the first of the table.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge the paper's claims on a table of metrics, or on published families of models."""
    from dit_scaling.claims import evaluate_claims, read_metrics_table
    from dit_scaling.claims.between_families import parse_family_claims
    from dit_scaling.common.seals import check_seals
    from dit_scaling.report.outcome import say_condition, say_exclusions
    from dit_scaling.report.style import shorten
    from dit_scaling.report.verdict_lines import tell_claim
    from dit_scaling.variants import family_of

    if (table is None) == (published is None):
        raise UserError("Give a table of metrics, or --published FAMILY, and not both.")
    if published and (metric or decoded_noise or families or guidance_scale is not None):
        raise UserError("--published tells of published FIDs: leave the options of a table out.")
    if published:
        from dit_scaling.laws.field_families import published_record
        from dit_scaling.laws.field_text import describe_published

        if as_json:
            tell_json(published_record(published))
        else:
            typer.echo(describe_published(published))
        return
    assert table is not None
    check_seals([table])
    rows = read_metrics_table(table, metric, guidance_scale)
    claimed = parse_family_claims(families or (), rows["variant"].map(family_of))
    report = evaluate_claims(rows, metric, decoded_noise=decoded_noise, families=claimed)
    scale = float(rows["guidance_scale"].iloc[0]) if "guidance_scale" in rows.columns else None
    if as_json:
        tell_json(report.to_dict() | ({} if scale is None else {"guidance_scale": scale}))
        return
    names = shorten(map(str, rows["variant"].unique()))
    if scale is not None:
        typer.echo(f"Guidance scale: {scale:g}.")
    typer.echo(f"Noise: {report.noise}.")
    for claim in report.claims:
        typer.echo(tell_claim(claim, names))
        within = [f"{names[pair.favoured]} and {names[pair.other]}" for pair in claim.unresolved]
        if within:
            typer.echo(f"  Within noise: {', '.join(within)}.")
        for pair in claim.exceptions:
            typer.echo(
                f"  Exception, {pair.kind}: {names[pair.better]} ({pair.gflops_better:.4g} Gflops, "
                f"{pair.metric_better:.4g}) is better than {names[pair.worse]} ({pair.gflops_worse:.4g} Gflops, "
                f"{pair.metric_worse:.4g})."
            )
    around = say_exclusions(report, names), say_condition(report)
    for note in filter(None, [*around, *(f"Assumed: {note}." for note in report.assumptions)]):
        typer.echo(note)
