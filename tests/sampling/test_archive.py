"""ADM's npz: written from the parts and read back, both as streams."""

import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import write_json
from dit_scaling.sampling.archive import export_samples, read_image_batches
from dit_scaling.sampling.images import Samples, write_samples


def write_parts(folder: Path, images: NDArray[np.uint8], parts: int) -> list[Path]:
    """The parts of one evaluation, as the sampling stage leaves them."""
    paths = []
    for part, indices in enumerate(np.array_split(np.arange(len(images)), parts)):
        paths.append(folder / "samples" / f"part-{part:05d}.npz")
        write_samples(paths[-1], Samples(images[indices], indices % 10, indices))
        settings = {"num_samples": len(images), "parts": parts}
        write_json(folder / "samples" / f"part-{part:05d}.provenance.json", {"settings": settings})
        write_samples(folder / "samples" / f"first-{part:05d}.npz", Samples(images[:1], indices[:1], indices[:1]))
    return paths


def pictures(count: int, channels: int = 3, side: int = 8) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def test_numpy_reads_the_export_back(tmp_path: Path) -> None:
    images = pictures(23)
    write_parts(tmp_path / "guidance-1.0", images, 3)
    answer = CliRunner().invoke(app, ["export-samples", str(tmp_path / "guidance-1.0"), str(tmp_path / "out.npz")])
    assert answer.exit_code == 0, answer.output
    assert "out.npz: 23 images" in answer.output
    with np.load(tmp_path / "out.npz", allow_pickle=False) as archive:
        assert archive.files == ["arr_0"]
        assert archive["arr_0"].dtype == np.uint8
        np.testing.assert_array_equal(archive["arr_0"], images)
    # Stored, as ADM's suite needs it to read from the middle of the file.
    with zipfile.ZipFile(tmp_path / "out.npz") as file:
        assert file.getinfo("arr_0.npy").compress_type == zipfile.ZIP_STORED


def test_grey_samples_are_exported_in_three_channels(tmp_path: Path) -> None:
    images = pictures(5, channels=1)
    write_parts(tmp_path, images, 1)
    export_samples(tmp_path, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as archive:
        np.testing.assert_array_equal(archive["arr_0"], images.repeat(3, axis=3))


@pytest.mark.parametrize("parts", [4, 16])
def test_memory_is_that_of_one_part_however_many_there_are(tmp_path: Path, parts: int) -> None:
    write_parts(tmp_path, pictures(16 * parts, side=64), parts)
    one_part = 16 * 64 * 64 * 3
    export_samples(tmp_path, tmp_path / "warm-up.npz")
    tracemalloc.start()
    export_samples(tmp_path, tmp_path / "out.npz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * one_part


def test_missing_parts_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    first, middle, last = write_parts(tmp_path, pictures(9), 3)
    with pytest.raises(UserError, match=r"holds no part-\*\.npz.*keep_samples"):
        export_samples(tmp_path / "samples", tmp_path / "out.npz")
    last.unlink()
    with pytest.raises(UserError, match=r"holds 6 of 9 images.*snakemake sample"):
        export_samples(tmp_path, tmp_path / "out.npz")
    middle.unlink()
    write_parts(tmp_path / "other", pictures(9), 3)
    (tmp_path / "other" / "samples" / "part-00002.npz").rename(last)
    with pytest.raises(UserError, match=r"part-00002\.npz does not go on at image 3"):
        export_samples(tmp_path, tmp_path / "out.npz")
    assert first.exists()
    assert not (tmp_path / "out.npz").exists()


def test_parts_left_from_when_there_were_more_are_not_read(tmp_path: Path) -> None:
    for parts in (8, 4):
        write_parts(tmp_path, pictures(24), parts)
    assert export_samples(tmp_path, tmp_path / "out.npz") == 24


@pytest.mark.parametrize("fault", ["of other settings", "torn", "without settings"])
def test_a_part_that_is_not_of_this_run_is_named(tmp_path: Path, fault: str) -> None:
    _, middle, _ = write_parts(tmp_path, pictures(9), 3)
    record = middle.with_name("part-00001.provenance.json")
    if fault == "of other settings":
        write_json(record, {"settings": {"num_samples": 9, "parts": 3, "steps": 16}})
    elif fault == "torn":
        middle.write_bytes(middle.read_bytes()[:300])
    else:
        write_json(record, {})
    with pytest.raises(UserError, match=r"part-00001\."):
        export_samples(tmp_path, tmp_path / "out.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_images_of_a_reference_are_read_in_batches(tmp_path: Path, save: object) -> None:
    images = pictures(11)
    save(tmp_path / "reference.npz", mu=np.zeros(3), arr_0=images)  # type: ignore[operator]
    batches = list(read_image_batches(tmp_path / "reference.npz", 4))
    assert [len(batch) for batch in batches] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate(batches), images)


def test_a_reference_without_images_has_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "reference.npz", mu=np.zeros(3))
    assert list(read_image_batches(tmp_path / "reference.npz", 4)) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.zeros((2, 4, 4, 3)), r"float64 .*x from -1 to 1 is"),
        (np.zeros((2, 4), np.uint8), ""),
        (np.zeros((2, 4, 4, 2), np.uint8), "channels last"),
        (np.asfortranarray(np.zeros((2, 4, 4, 3), np.uint8)), r"in Fortran's order.*ascontiguousarray"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: NDArray[np.generic], said: str) -> None:
    np.savez(tmp_path / "reference.npz", arr_0=content)
    with pytest.raises(UserError, match=rf"reference\.npz: arr_0 is (?=.* not uint8 images).*{said}"):
        list(read_image_batches(tmp_path / "reference.npz", 4))


def test_a_torn_reference_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "reference.npz", arr_0=pictures(4))
    content = (tmp_path / "reference.npz").read_bytes()
    (tmp_path / "reference.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"reference\.npz: its images \(arr_0\) cannot be read"):
        list(read_image_batches(tmp_path / "reference.npz", 4))
