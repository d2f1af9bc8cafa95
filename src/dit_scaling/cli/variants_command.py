"""``variants``: how large the models of a study are."""

import typer

from dit_scaling.cli.options import ConfigFiles


def variants(config: ConfigFiles) -> None:
    """Print the variants of a study with tokens, parameters and Gflops."""
    from dit_scaling.config import load_study
    from dit_scaling.variants import count_gflops, count_parameters, count_tokens, family_row

    study = load_study(*config)
    channels, size = study.vae.latent_channels, study.latent_size
    wide = max(16, *(len(name) + 1 for name in study.variants))
    typer.echo(f"{'variant':<{wide}}{'depth':>7}{'hidden_size':>13}{'tokens':>8}{'params':>14}{'Gflops':>12}")
    for name in study.variants:
        variant = study.variant(name)
        parameters = count_parameters(variant, study.data.classes, channels, size)
        depth, hidden_size = (number or "-" for number in family_row(variant).shape(variant))
        typer.echo(
            f"{name:<{wide}}{depth:>7}{hidden_size:>13}{count_tokens(variant, size) or '-':>8}{parameters:>14,}"
            f"{count_gflops(variant, size, channels):>12.4g}"
        )
