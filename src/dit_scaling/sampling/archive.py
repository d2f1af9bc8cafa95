"""The npz of ADM's evaluation suite, written and read as a stream: images (N, H, W, C) as ``arr_0``."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from dit_scaling.common.errors import UserError
from dit_scaling.common.files import atomic_path, read_json
from dit_scaling.common.npy_header import read_npy_header
from dit_scaling.sampling.images import read_indices, read_samples


def export_samples(folder: Path, output: Path) -> int:
    """Join the parts of one evaluation into one npz, ``arr_0`` uint8 (N, H, W, 3); one part in memory at a time.

    The images stand in the order of their indices. Grey ones get three channels, which the suite expects.

    Args:
        folder: ``.../guidance-G``, the folder above ``samples/``.
        output: where the npz goes; stored, not compressed, as the suite streams it.

    Returns:
        The number of images.

    Raises:
        UserError: there are no parts, or some are missing, damaged or of other settings.
    """
    parts = sorted((folder / "samples").glob("part-*.npz"))
    if not parts:
        raise UserError(
            f"{folder}/samples holds no part-*.npz. Name the folder of one evaluation (.../guidance-1.0) whose samples "
            "were kept (sampling.keep_samples)."
        )
    parts = parts[: int(_settings(parts[0])["parts"])]  # further ones are left from when there were more
    count = _check_whole(parts)
    shape = read_samples(parts[0]).images.shape[1:3]
    with (
        atomic_path(output) as temporary,
        zipfile.ZipFile(temporary, "w") as archive,
        archive.open("arr_0.npy", "w", force_zip64=True) as stream,
    ):
        npy.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (count, *shape, 3)})
        for part in parts:
            images = read_samples(part).images
            stream.write(np.ascontiguousarray(np.broadcast_to(images, (*images.shape[:3], 3))).tobytes())
    return count


def _check_whole(parts: Sequence[Path]) -> int:
    """The number of images in the parts, once it is sure that they are all there are of one run."""
    expected, settings = 0, _settings(parts[0])
    for part in parts:
        if _settings(part) != settings:
            raise UserError(f"{part} was sampled by other settings than {parts[0]}. Run: snakemake sample")
        indices = read_indices(part)
        if not np.array_equal(indices, np.arange(expected, expected + len(indices))):
            raise UserError(f"{part} does not go on at image {expected}. Draw the missing parts: snakemake sample")
        expected += len(indices)
    if expected != settings["num_samples"]:
        raise UserError(
            f"{parts[-1].parent} holds {expected} of {settings['num_samples']} images. Run: snakemake sample"
        )
    return expected


def _settings(part: Path) -> dict[str, Any]:
    """What a part was sampled by, as `SampleSettings` stores it."""
    record = part.with_name(f"{part.stem}.provenance.json")
    try:
        return dict(read_json(record)["settings"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{record} is no record of samples ({error!r}). Run: snakemake --forcerun sample") from None


def count_images(path: Path) -> int:
    """How many images an npz has as ``arr_0``; 0 where it has no ``arr_0``.

    Raises:
        UserError: the file is torn, or ``arr_0`` holds no images.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if "arr_0.npy" not in archive.namelist():
                return 0
            with archive.open("arr_0.npy") as stream:
                return _read_header(path, stream)[0]
    except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: its images (arr_0) cannot be read ({error}). Download it again.") from None


def read_image_batches(path: Path, size: int) -> Iterator[NDArray[np.uint8]]:
    """The images of an npz's ``arr_0``, uint8 (N, H, W, C), in batches of ``size``; none where it has no ``arr_0``.

    Raises:
        UserError: the file is torn, or ``arr_0`` holds no images.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if "arr_0.npy" not in archive.namelist():
                return
            with archive.open("arr_0.npy") as stream:
                shape = _read_header(path, stream)
                bytes_each = int(np.prod(shape[1:]))
                for start in range(0, shape[0], size):
                    count = min(size, shape[0] - start)
                    content = bytearray(stream.read(count * bytes_each))  # writable, as torch wants it
                    yield np.frombuffer(content, np.uint8).reshape(count, *shape[1:])
    except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: its images (arr_0) cannot be read ({error}). Download it again.") from None


def _read_header(path: Path, stream: IO[bytes]) -> tuple[int, ...]:
    shape, fortran_order, dtype = read_npy_header(stream)
    if dtype != np.uint8 or len(shape) != 4 or fortran_order or shape[3] not in (1, 3):
        order = " in Fortran's order" if fortran_order else ""
        raise UserError(
            f"{path}: arr_0 is {dtype} of shape {shape}{order}, not uint8 images (N, H, W, 3). Write whole numbers "
            "from 0 to 255 (x from -1 to 1 is (127.5 * x + 127.5).round()) as np.uint8, channels last, and in C's "
            "order (np.ascontiguousarray)."
        )
    return shape
