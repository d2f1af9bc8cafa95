"""``check``: whether a config is a study, and what is doubtful in it."""

from typing import TYPE_CHECKING

import typer

from dit_scaling.cli.options import EMBEDDED, ConfigFiles, named
from dit_scaling.common.errors import UserError
from dit_scaling.common.words import count

if TYPE_CHECKING:
    from dit_scaling.config.study import Study
    from dit_scaling.data.sources import ImageSource


def check(config: ConfigFiles = EMBEDDED) -> None:
    """Check the config of a study without starting anything, and list what is doubtful in it."""
    from dit_scaling.config import load_study
    from dit_scaling.data.class_order import require_order
    from dit_scaling.data.sources import open_source
    from dit_scaling.health.contract import refuse_broken_contracts
    from dit_scaling.latents.imported import origin_of, require_usable
    from dit_scaling.metrics.given_files import require_given_files
    from dit_scaling.paper.deviations import compare_protocol, doubtful_reasons

    study = load_study(*config)
    require_usable(study)
    images: int | None = None
    fault: UserError | None = None
    try:
        require_order(study)
        source = open_source(study.data)
    except UserError as error:
        fault, images = error, _expected(study)
    else:
        images = len(source)
        _tell_images(study, source)
    refuse_broken_contracts(study)
    for warning in (*study.warnings(), *doubtful_reasons(study, compare_protocol(study, images, origin_of(study)))):
        typer.echo(f"Doubtful: {warning}.")
    found = f"{named(config)}: study '{study.study}', {_describe_runs(study)}"
    if fault is not None:
        typer.echo(f"{found}. Everything but the images was checked; docs/imagenet.md says how images lie.")
        raise fault
    require_given_files(study)
    typer.echo(f"{found}. No errors.")


def _describe_runs(study: "Study") -> str:
    """How many runs are trained, and how many variants come with weights."""
    runs, given = len(study.trained) * len(study.training.seeds), len(study.checkpoints)
    parts = [f"{count(runs, 'training run')} of {study.lengths}"] if runs else []
    parts += [f"{count(given, 'variant')} with given weights"] if given else []
    return " and ".join(parts)


def _expected(study: "Study") -> int | None:
    """How many images there will be, as far as that is known before they are there."""
    from dit_scaling.plan.command import look_at

    try:
        return look_at(study.data)[0]
    except UserError:
        return None


def _tell_images(study: "Study", source: "ImageSource") -> None:
    """Say what is seen in the images, and of imported latents whether they are theirs.

    Raises:
        UserError: they cannot be split and encoded as the study says, or the latents are of others.
    """
    from dit_scaling.config.image_settings import ImageFiles
    from dit_scaling.data.assets import imported_record
    from dit_scaling.data.imagenet import compare_count
    from dit_scaling.data.split import require_shards, require_training_images
    from dit_scaling.data.survey import describe_inventory, require_readable, survey
    from dit_scaling.latents.imported import ImportedLatents, has_shards, read_imported, require_record_fits

    images = len(source)
    require_training_images(source.labels, source.class_names, study.data.held_out, study.seed)
    require_shards(images, study.data.held_out, study.latents.shards, study.latents.held_out_shards)
    if study.latents.source is not None:
        record = imported_record(study)
        found = read_imported(record)
        if has_shards(record, found):
            ImportedLatents(record).rows_of(source)
            told = "with the labels of their images"
        else:
            require_record_fits(record, found, source)
            told = "whose shards are gone; by their record each class has as many as images"
        typer.echo(f"Latents: {images:,} imported ones ({found.origin.each}) {told}.")
    if isinstance(study.data, ImageFiles):
        if study.data.count not in (None, images):
            typer.echo(f"Doubtful: data.count: {study.data.count:,}, but there are {images:,} images.")
        seen = survey(source, study.data)
        for sentence in (*describe_inventory(study.data), *seen.sentences):
            typer.echo(f"{'Warning' if sentence in seen.doubts else 'Images'}: {sentence}.")
        require_readable(seen)
    finding = compare_count(images, study.data.classes)
    if finding is not None:
        typer.echo(f"{'Warning' if finding.leak else 'Images'}: {finding.sentence}.")
