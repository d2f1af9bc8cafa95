"""``check``: whether a config is a study, and what is doubtful in it."""

import typer

from dit_scaling.cli.options import ConfigFiles, named


def check(config: ConfigFiles) -> None:
    """Check the config of a study without starting anything, and list what is doubtful in it."""
    from dit_scaling.config import load_study
    from dit_scaling.config.image_settings import ImageFiles
    from dit_scaling.data.class_order import require_order
    from dit_scaling.data.imagenet import compare_count
    from dit_scaling.data.sources import open_source
    from dit_scaling.data.split import require_shards, require_training_images
    from dit_scaling.data.survey import describe_inventory, require_readable, survey
    from dit_scaling.health.contract import refuse_broken_contracts
    from dit_scaling.metrics.given_files import require_given_files
    from dit_scaling.paper.deviations import compare_protocol, doubtful_reasons

    study = load_study(*config)
    require_order(study)
    require_given_files(study)
    source = open_source(study.data)
    images = len(source)
    require_training_images(source.labels, source.class_names, study.data.held_out, study.seed)
    require_shards(images, study.data.held_out, study.latents.shards, study.latents.held_out_shards)
    if isinstance(study.data, ImageFiles):
        seen = survey(source, study.data)
        for sentence in (*describe_inventory(study.data), *seen.sentences):
            typer.echo(f"{'Warning' if sentence in seen.doubts else 'Images'}: {sentence}.")
        require_readable(seen)
    refuse_broken_contracts(study)
    finding = compare_count(images, study.data.classes)
    if finding is not None:
        typer.echo(f"{'Warning' if finding.leak else 'Images'}: {finding.sentence}.")
    for warning in (*study.warnings(), *doubtful_reasons(study, compare_protocol(study, images))):
        typer.echo(f"Doubtful: {warning}.")
    runs = len(study.variants) * len(study.training.seeds)
    typer.echo(
        f"{named(config)}: study '{study.study}', {runs} training runs of {study.training.steps} steps. No errors."
    )
