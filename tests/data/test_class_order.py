"""Which class has which number: files of names, numbers sorted as text, weights and references from elsewhere."""

from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

from dit_scaling.common.errors import UserError
from dit_scaling.config import parse_study
from dit_scaling.config.image_settings import ImageFolder
from dit_scaling.data.class_order import describe_names, describe_order, folder_classes, require_order
from dit_scaling.data.fingerprint import cached_fingerprint, fingerprint
from dit_scaling.data.sources import open_source


def data(root: Path, classes: int = 12, names: Path | None = None) -> ImageFolder:
    return ImageFolder(
        source="image_folder",
        path=str(root),
        image_size=8,
        classes=classes,
        held_out=2,
        class_names=None if names is None else str(names),
    )


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """Twelve classes 0 ... 11; the colour of each image is its number."""
    root = tmp_path / "numbered"
    for number in range(12):
        (root / str(number)).mkdir(parents=True)
        Image.new("RGB", (8, 8), (number,) * 3).save(root / str(number) / "x.png")
    return root


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("\ufeff" + "".join(f"{number}\n" for number in range(12)), encoding="utf-8")
    return path


def test_labels_are_in_the_order_of_the_file(numbered: Path, names: Path) -> None:
    as_text, by_number = open_source(data(numbered)), open_source(data(numbered, names=names))
    assert as_text.class_names[2] == "10"
    assert by_number.class_names == [str(number) for number in range(12)]
    for source, expected in ((as_text, sorted(range(12), key=str)), (by_number, range(12))):
        assert [int(source.image(index)[0, 0, 0]) for index in range(12)] == list(expected)
        np.testing.assert_array_equal(source.labels, np.arange(12))


def test_another_order_is_a_change_of_the_images(numbered: Path, names: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    found = {fingerprint(data(numbered)), fingerprint(data(numbered, names=names))}
    names.write_text("\n".join(str(number) for number in reversed(range(12))))
    found.add(cached_fingerprint(data(numbered, names=names), cache))
    assert len(found) == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0\n1\n1\n3\n4\n5\n6\n7\n8\n9\n10\n11\n", r"holds '1' twice"),
        ("0\n1\n2\n", r"holds 3 names, but data\.classes is 12"),
        ("a\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n", r"names\.txt has no 0\. The file must hold the names"),
    ],
)
def test_a_file_of_other_names_is_refused(numbered: Path, names: Path, text: str, reason: str) -> None:
    names.write_text(text)
    with pytest.raises(UserError, match=rf"data\.class_names: .*{reason}"):
        open_source(data(numbered, names=names))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_of_folders_need_only_look_like_those_of_the_file(tmp_path: Path, form: Any) -> None:
    """Folders from macOS are decomposed, and a folder's name may end with a space."""
    folders, root, names = [normalize(form, "café"), "apple "], tmp_path / "photos", tmp_path / "names.txt"
    for name in folders:
        (root / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(root / name / "x.png")
    for other in ("NFC", "NFD"):
        names.write_text(normalize(other, "café\napple\n"), encoding="utf-8")
        source = open_source(data(root, 2, names))
        assert source.class_names == folders
        assert source.keys == [f"{name}/x.png" for name in folders]
    spelled = fingerprint(data(root, 2, names))
    names.write_text(normalize(form, "café\napple\n"), encoding="utf-8")
    assert fingerprint(data(root, 2, names)) == spelled


def test_a_folder_is_named_as_it_is_where_another_looks_like_it(tmp_path: Path) -> None:
    folders, names = [normalize(form, "café") for form in ("NFC", "NFD")], tmp_path / "names.txt"
    for name in folders:
        (tmp_path / "photos" / name).mkdir(parents=True)
    names.write_text("\n".join(folders), encoding="utf-8")
    assert folder_classes(data(tmp_path / "photos", 2, names)) == folders
    names.write_text("café\nthe", encoding="utf-8")
    with pytest.raises(UserError, match=r"names\.txt has no caf"):
        folder_classes(data(tmp_path / "photos", 2, names))


def test_a_missing_or_binary_file_of_names_is_named(numbered: Path, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for file in ("nowhere", "binary"):
        with pytest.raises(UserError, match=rf"{file} cannot be read as a text of names"):
            open_source(data(numbered, names=tmp_path / file))


@pytest.mark.parametrize("pattern", ["{}", "class{}", "n{}_photo"])
def test_numbers_sorted_as_text_are_said(pattern: str) -> None:
    names = sorted(pattern.format(number) for number in range(12))
    told = describe_order(names)
    assert told is not None
    label = 1 if pattern.endswith("photo") else 2  # an underscore sorts after digits
    assert f"label {label} is the class '{pattern.format(10)}', where by number it would be" in told
    assert f"'{pattern.format(label)}'" in told
    assert describe_order(sorted(f"{number:02d}" for number in range(12))) is None
    assert describe_order([pattern.format(number) for number in range(10)]) is None


@pytest.mark.parametrize("names", [["rose", "tulip"], ["n01440764", "n01443537"], ["a2", "b10"], ["1", "b"]])
def test_names_that_are_no_numbers_have_an_order(names: list[str]) -> None:
    assert describe_order(names) is None


def test_parts_of_a_data_set_are_no_classes() -> None:
    assert "called test, train, val" in str(describe_names(["test", "train", "val"]))
    assert describe_names(["train", "bus"]) is None
    assert describe_names(["train"]) is None


@pytest.mark.parametrize("given", ["checkpoints", "reference", "nothing"])
def test_given_weights_and_references_need_an_order_beyond_doubt(numbered: Path, names: Path, given: str) -> None:
    def study(class_names: Path | None) -> Any:
        extractor: dict[str, Any] = {"kind": "classifier", "steps": 3, "feature_dim": 4}
        if given == "reference":
            extractor = {"kind": "inception", "reference": "VIRTUAL_imagenet256_labeled.npz"}
        return parse_study(
            {
                "study": "numbered",
                "data": data(numbered, names=class_names).model_dump(mode="json"),
                "vae": {"source": "pretrained", "path": "vae", "downsampling": 1},
                "variants": ["DiT-S/2"],
                "checkpoints": {"DiT-S/2": "weights.pt"} if given == "checkpoints" else {},
                "training": {"steps": 1},
                "sampling": {"num_samples": 100, "parts": 1},
                "metrics": {"extractor": extractor, "kid_subset_size": 10, "neighbours": 1},
            }
        )

    require_order(study(names))
    if given == "nothing":
        require_order(study(None))
        return
    with pytest.raises(UserError, match=r"in an order of its own, but .* set data\.class_names"):
        require_order(study(None))
