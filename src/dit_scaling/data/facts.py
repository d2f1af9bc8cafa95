"""The data stage: what the images are and which of them are held out, as data.json."""

import logging
from pathlib import Path

import numpy as np

from dit_scaling.common.files import digest, write_json
from dit_scaling.config.image_settings import ImageFiles
from dit_scaling.config.stages import DataSettings
from dit_scaling.data.hub_record import record_of
from dit_scaling.data.imagenet import compare_count
from dit_scaling.data.sources import open_source
from dit_scaling.data.split import require_training_images, split_indices
from dit_scaling.data.survey import require_readable, survey

SURVEYED = 10_000
"""Images that the data stage opens before any of them is read: so many that one in a thousand is seen."""

log = logging.getLogger(__name__)


def write_data_facts(settings: DataSettings, output: Path) -> None:
    """Write class names, counts per class and split, what the count says, and the digests of images and split.

    Warns where the number of images is that of ImageNet's training and validation sets together, and of what a look at
    the images finds (``survey``).

    Raises:
        UserError: the images are not what the config says, or too few for the held-out split, of all or of one class,
            or one of those looked at cannot be read.
    """
    source = open_source(settings.data)
    train, held_out = split_indices(len(source), settings.data.held_out, settings.seed)
    splits = {"train": train, "held_out": held_out}
    require_training_images(source.labels, source.class_names, settings.data.held_out, settings.seed)
    classes = len(source.class_names)
    finding = compare_count(len(source), classes)
    if finding is not None and finding.leak:
        log.warning("%s: %s.", getattr(settings.data, "path", settings.data.source), finding.sentence)
    record = record_of(settings.data)
    seen = survey(source, settings.data, SURVEYED) if isinstance(settings.data, ImageFiles) else None
    for sentence in seen.sentences if seen else ():
        log.warning("%s: %s.", settings.data.source, sentence)
    if seen:
        require_readable(seen)
    write_json(
        output,
        {
            "images": len(source),
            **({"beside_imagenet": finding.sentence} if finding else {}),
            **({"images_looked_at": seen.looked_at, "found_in_images": list(seen.sentences)} if seen else {}),
            **({"hub": record.name} if record else {}),
            "image_size": settings.data.image_size,
            "channels": settings.data.channels,
            "class_names": list(source.class_names),
            "counts": {
                split: np.bincount(source.labels[indices], minlength=classes).tolist()
                for split, indices in splits.items()
            },
            "split_digest": digest({split: indices.tolist() for split, indices in splits.items()}),
            "fingerprint": settings.fingerprint,
            "settings_digest": settings.digest,
        },
    )
