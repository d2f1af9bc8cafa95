"""``variants``: how large the models of a study are."""

from typing import Any

import typer

from dit_scaling.cli.options import EMBEDDED, ConfigFiles, JsonOption, tell_json


def variants(config: ConfigFiles = EMBEDDED, as_json: JsonOption = False) -> None:
    """Print the variants of a study with tokens, parameters and Gflops."""
    from dit_scaling.config import load_study
    from dit_scaling.variants import count_gflops, count_tokens, family_row

    study = load_study(*config)
    channels, size = study.vae.latent_channels, study.latent_size
    rows: list[dict[str, Any]] = []
    for name in study.variants:
        variant = study.variant(name)
        depth, hidden_size = family_row(variant).shape(variant)
        rows.append(
            {
                "variant": name,
                "depth": depth,
                "hidden_size": hidden_size,
                "tokens": count_tokens(variant, size),
                "parameters": study.parameters(name),
                "gflops": count_gflops(variant, size, channels),
            }
        )
    if as_json:
        tell_json(rows)
        return
    wide = max(16, *(len(name) + 1 for name in study.variants))
    typer.echo(f"{'variant':<{wide}}{'depth':>7}{'hidden_size':>13}{'tokens':>8}{'params':>14}{'Gflops':>12}")
    for row in rows:
        tokens = row["tokens"] or "-"
        typer.echo(
            f"{row['variant']:<{wide}}{row['depth'] or '-':>7}{row['hidden_size'] or '-':>13}{tokens:>8}"
            f"{row['parameters']:>14,}"
            f"{row['gflops']:>12.4g}"
        )
