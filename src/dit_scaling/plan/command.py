"""What ``dit-scaling plan`` does: find out about images and given files, price."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dit_scaling.common.errors import UserError
from dit_scaling.config import load_study
from dit_scaling.config.image_settings import MNIST_IMAGES, ImageSettings, Mnist, Parquet, Shapes
from dit_scaling.config.study import Study
from dit_scaling.data.assets import stages_as_given
from dit_scaling.data.fingerprint import fingerprint
from dit_scaling.data.hub_record import record_of
from dit_scaling.data.imagenet import CLASSES as IMAGENET_CLASSES
from dit_scaling.data.imagenet import TRAINING as IMAGENET_TRAINING
from dit_scaling.data.listing import class_folders, image_files
from dit_scaling.data.sources import open_source
from dit_scaling.plan.jobs import Job, list_jobs
from dit_scaling.plan.price import Devices
from dit_scaling.plan.record import plan_record, rerun_record
from dit_scaling.plan.rerun import changed_against_jobs, changed_against_results
from dit_scaling.plan.text import describe_plan, describe_rerun


@dataclass(frozen=True)
class Planned:
    """A study with its jobs and the number of its images: see `look_at`."""

    study: Study
    jobs: list[Job]
    images: int


def plan_study(study: Study) -> Planned:
    """Jobs of a study.

    Raises:
        UserError: its images are missing and not to be guessed, or a given file is unreadable.
    """
    images, data_fingerprint = look_at(study.data)
    stages = stages_as_given(study, data_fingerprint, Path("results", study.study))
    return Planned(study, list_jobs(study, stages, images), images)


def tell_plan(study: Study, devices: Devices, diff: Path | None, hourly: float = 0.0) -> str:
    """The plan in words, or with ``diff``, a config or a folder of results, what would run beside that.

    Raises:
        UserError: a study cannot be planned, or ``diff`` is neither.
    """
    planned = plan_study(study)
    if diff is None:
        return describe_plan(planned.study, planned.jobs, devices, planned.images, hourly)
    return describe_rerun(_changed(planned.jobs, diff), devices, str(diff), hourly)


def plan_as_record(study: Study, devices: Devices, diff: Path | None, hourly: float = 0.0) -> dict[str, Any]:
    """What `tell_plan` tells, as plain values."""
    planned = plan_study(study)
    if diff is None:
        return plan_record(study, planned.jobs, devices, planned.images, hourly)
    return rerun_record(_changed(planned.jobs, diff), devices, str(diff), hourly)


def _changed(jobs: list[Job], diff: Path) -> list[Job]:
    if not diff.is_dir():
        return changed_against_jobs(jobs, plan_study(load_study(diff)).jobs)
    if not (diff / "data" / "provenance.json").is_file():
        raise UserError(f"--diff {diff}: no results of a study. Give a folder like results/embedded, or a config.")
    return changed_against_results(jobs, diff)


def look_at(data: ImageSettings) -> tuple[int, str]:
    """Number of images and their fingerprint.

    Where they are not there yet, the fingerprint is empty, and the number is what ``data.count`` says, or ImageNet's of
    images in its 1,000 classes.

    Raises:
        UserError: the images are missing and nothing says how many they will be, or they are unreadable.
    """
    if isinstance(data, Mnist):
        return MNIST_IMAGES, fingerprint(data)
    if isinstance(data, Shapes):
        return data.images, fingerprint(data)
    root = Path(data.path)
    if not root.is_dir() or (isinstance(data, Parquet) and data.hub is not None and record_of(data) is None):
        if data.count is not None:
            return data.count, ""
        if data.classes != IMAGENET_CLASSES:
            raise UserError(
                f"data.path: {data.path} does not exist or was not fetched yet, so its images cannot be counted. Say "
                "with data.count how many they will be."
            )
        return IMAGENET_TRAINING, ""
    if data.source != "image_folder":
        return len(open_source(data)), fingerprint(data)
    return sum(1 for name in class_folders(root) for _ in image_files(root, name)), fingerprint(data)
