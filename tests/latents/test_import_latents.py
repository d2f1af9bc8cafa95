"""Latents of others: what is written in their layouts comes back bit for bit, and what is wrong with them is named."""

import json
import os
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision import datasets
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.common.errors import UserError
from dit_scaling.config import load_study, parse_study
from dit_scaling.config.image_settings import ImageFolder
from dit_scaling.config.study import Study
from dit_scaling.data.assets import open_stages
from dit_scaling.data.sources import open_source
from dit_scaling.latents import importing
from dit_scaling.latents.imported import NO_SPREAD, Imported, ImportedLatents, require_usable
from dit_scaling.latents.importing import import_latents
from dit_scaling.latents.shards import LatentSample, write_shard
from foreign_layouts import Moments, means_of, write_fast_dit, write_lightningdit, write_repa, write_tars
from jobs import CONFIG

COUNT, CLASSES = 11, 3
LABELS = np.arange(COUNT) * CLASSES // COUNT
KEYS = [f"class-{label}/img_{number:02d}.png" for number, label in enumerate(LABELS)]
TAR_KEYS = [key.removesuffix(".png") for key in KEYS]


@pytest.fixture(scope="module")
def moments() -> Moments:
    """Of 11 images, 2x4x4 latents about as large as those of SD's VAE."""
    rng = np.random.default_rng(0)
    mean = rng.normal(0, 5, (COUNT, 2, 2, 4, 4))
    return np.concatenate([mean, rng.normal(-10, 3, mean.shape)], axis=2).astype(np.float16)


def write_ours(folder: Path, moments: Moments, labels: Sequence[int]) -> None:
    """Two shards of a study, whose images are in an order of their own."""
    order = np.random.default_rng(1).permutation(COUNT)
    for name, some in (("train-00000", order[3:]), ("held_out-00000", order[:3])):
        samples = (LatentSample(int(i), moments[i], int(labels[i]), KEYS[i]) for i in some)
        write_shard(folder / f"{name}.tar", samples)


WRITERS: dict[str, Callable[[Path, Moments, Any], None]] = {
    "fast-dit": write_fast_dit,
    "repa": write_repa,
    "lightningdit": write_lightningdit,
    "webdataset": lambda folder, moments, labels: write_tars(folder, moments, labels, TAR_KEYS),
    "ours": write_ours,
}
TARS = {"multiplied_by": 0.5, "holds": "latent"}


class Images:
    """An image source that has names and labels only."""

    def __init__(self, labels: Sequence[int] = tuple(LABELS), keys: Sequence[str] = tuple(KEYS)) -> None:
        self.labels, self.keys = np.asarray(labels), keys
        self.class_names = [f"class-{label}" for label in range(CLASSES)]

    def __len__(self) -> int:
        return len(self.keys)

    def image(self, index: int) -> Any:
        raise AssertionError(f"image {index} was read")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "imported"


def latents_of(folder: Path) -> ImportedLatents:
    return ImportedLatents(folder / "imported.json")


def imported(source: Path, folder: Path, layout: str, moments: Moments) -> Imported:
    WRITERS[layout](source, moments, LABELS)
    return import_latents(source, folder, **(TARS if layout == "webdataset" else {}))


def as_seen(moments: Moments, layout: str) -> Moments:
    """What a study may know of ``moments`` after they went through a layout."""
    if layout == "ours":
        return moments
    if layout == "repa":
        return np.repeat(moments[:, :1], 2, axis=1)
    views = moments.copy()
    views[:, :, 2:] = NO_SPREAD
    if layout == "fast-dit":
        views[1::2, 0] = views[1::2, 1]
    return views if layout == "lightningdit" else np.repeat(views[:, :1], 2, axis=1)


@pytest.mark.parametrize("layout", WRITERS)
def test_latents_come_back_bit_for_bit(source: Path, folder: Path, layout: str, moments: Moments) -> None:
    facts = imported(source, folder, layout, moments)
    latents = latents_of(folder)
    rows = latents.rows_of(Images())
    np.testing.assert_array_equal(latents.moments(rows), as_seen(moments, layout))
    assert latents.labels[rows].tolist() == LABELS.tolist()
    assert facts.origin.layout == ("webdataset" if layout == "ours" else layout)
    assert facts.origin.log_variance == (layout in ("repa", "ours"))
    assert facts.origin.mirrored == (layout in ("lightningdit", "ours"))


def test_a_draw_without_log_variance_is_the_mean_to_the_last_bit() -> None:
    mean, noise = torch.rand(1000), torch.randn(1000) * 5
    spread = torch.tensor(np.float16(NO_SPREAD)).float()
    assert torch.equal(mean + torch.exp(0.5 * spread) * noise, mean)


@pytest.mark.parametrize("ranks", [1, 2, 4, 5])
def test_ranks_are_put_into_the_order_of_the_images(source: Path, folder: Path, ranks: int, moments: Moments) -> None:
    write_lightningdit(source, moments, LABELS, ranks=ranks, rows=2)
    import_latents(source, folder)
    latents = latents_of(folder)
    assert len(latents) == -(-COUNT // ranks) * ranks
    np.testing.assert_array_equal(latents.moments(latents.rows_of(Images()))[:, :, :2], means_of(moments))


def test_bfloat16_is_read_as_what_it_is(source: Path, folder: Path, moments: Moments) -> None:
    write_lightningdit(source, moments, LABELS, dtype=torch.bfloat16)
    import_latents(source, folder)
    expected = torch.from_numpy(means_of(moments)).bfloat16().float().numpy().astype(np.float16)
    np.testing.assert_array_equal(latents_of(folder).moments(np.arange(COUNT))[:, :, :2], expected)


def test_the_record_tells_the_statistics_of_draws(source: Path, folder: Path, moments: Moments) -> None:
    facts = imported(source, folder, "ours", moments)
    mean, log_variance = np.split(moments.astype(np.float64), 2, axis=2)
    axes = (0, 1, 3, 4)
    np.testing.assert_allclose(facts.channel_mean, mean.mean(axis=axes))
    second = (mean**2 + np.exp(log_variance)).mean(axis=axes)
    np.testing.assert_allclose(facts.channel_std, np.sqrt(second - mean.mean(axis=axes) ** 2))
    assert facts.label_histogram == tuple(np.bincount(LABELS))
    assert json.loads((folder / "provenance.json").read_text())["settings"]["source"] == str(source)


def test_many_latents_are_several_shards(
    source: Path, folder: Path, moments: Moments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "PART", 4)
    facts = imported(source, folder, "repa", moments)
    assert [(shard.file, shard.count) for shard in facts.shards] == [
        ("part-00000.tar", 4),
        ("part-00001.tar", 4),
        ("part-00002.tar", 3),
    ]
    np.testing.assert_array_equal(latents_of(folder).moments(np.arange(COUNT)), as_seen(moments, "repa"))


def test_the_folder_above_repas_latents_will_do(source: Path, folder: Path, moments: Moments) -> None:
    write_repa(source / "vae-sd", moments, LABELS)
    assert import_latents(source, folder).count == COUNT


def test_links_to_folders_of_latents_are_followed(source: Path, folder: Path, moments: Moments) -> None:
    write_repa(source, moments, LABELS)
    (source / "00000").rename(source.parent / "elsewhere")
    (source / "00000").symlink_to(source.parent / "elsewhere")
    for place in (source / "00000/elsewhere", source / "source"):  # ln -s, run twice
        place.symlink_to(source.parent / place.name)
    assert import_latents(source, folder).count == COUNT
    np.testing.assert_array_equal(latents_of(folder).moments(np.arange(COUNT)), as_seen(moments, "repa"))


@pytest.mark.parametrize("layout", ["fast-dit", "repa", "lightningdit"])
def test_an_imported_folder_can_be_imported(source: Path, folder: Path, layout: str, moments: Moments) -> None:
    """Its record says what its shards hold: without it a latent's channels would pass for mean and log-variance."""
    first = imported(source, folder, layout, moments)
    second = import_latents(folder, folder.with_name("again"))
    assert second.origin == first.origin
    assert (second.latent_shape, second.channels, second.repeats) == (first.latent_shape, 2, first.repeats)
    again = latents_of(folder.with_name("again"))
    np.testing.assert_array_equal(again.moments(again.rows_of(Images())), as_seen(moments, layout))


def test_an_imported_folder_without_its_record_is_asked_for_it(source: Path, folder: Path, moments: Moments) -> None:
    imported(source, folder, "fast-dit", moments)
    record = json.loads((folder / "imported.json").read_text())
    (folder / "imported.json").write_text(json.dumps(record | {"count": COUNT + 1}))
    with pytest.raises(UserError, match=r"its tars hold 11 latents, but imported\.json says 12"):
        import_latents(folder, folder.with_name("again"))
    (folder / "imported.json").unlink()
    with pytest.raises(
        UserError, match=r"no imported\.json that says what they are. Put it beside them, or say with --h"
    ):
        import_latents(folder, folder.with_name("again"))
    assert import_latents(folder, folder.with_name("again"), holds="latent").channels == 2


@pytest.mark.parametrize("layout", ["fast-dit", "repa", "lightningdit"])
@pytest.mark.parametrize("with_manifest", [True, False])
def test_shards_of_a_study_from_imported_latents_keep_what_is_known(
    source: Path, folder: Path, layout: str, moments: Moments, with_manifest: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = imported(source, folder, layout, moments)
    seen = as_seen(moments, layout)
    write_ours(folder.with_name("study"), seen, LABELS)
    if with_manifest:
        (folder.with_name("study") / "manifest.json").touch()
        monkeypatch.setattr(importing, "read_manifest", lambda _: SimpleNamespace(imported=first.origin))
    again = import_latents(folder.with_name("study"), folder.with_name("again")).origin
    assert (again.log_variance, again.mirrored) == (layout == "repa", layout == "lightningdit")
    if with_manifest:
        assert again.layout == layout
    assert ("log-variance" in again.each and "without" not in again.each) == (layout == "repa" and not with_manifest)


def test_nothing_is_unpickled(source: Path, folder: Path, moments: Moments) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
            return Path.touch, (source / "sprung",)

    write_lightningdit(source, moments, LABELS)
    (source / "latents_stats.pt").write_bytes(pickle.dumps(Trap()))
    import_latents(source, folder)
    write_repa(source / "npy", moments, LABELS)
    np.save(source / "npy/00000/img-mean-std-00000003.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"00000003\.npy holds object, where numbers should be; nothing is unpickled"):
        import_latents(source / "npy", folder.with_name("other"))
    assert not (source / "sprung").exists()


# --- what is wrong


def npy(file: str, value: Any) -> Callable[[Path], object]:
    return lambda source: np.save(source / file, value)


def edited(file: str, change: Callable[[Any], object]) -> Callable[[Path], object]:
    """Numbers of a .npy file, tensors of a safetensors file, or labels of dataset.json, changed in place."""

    def damage(source: Path) -> None:
        path = source / file
        if path.suffix == ".npy":
            array = np.load(path)
            change(array)
            np.save(path, array)
        elif path.suffix == ".json":
            content = json.loads(path.read_text())
            change(content["labels"])
            path.write_text(json.dumps(content))
        else:
            tensors = load_file(path)
            change(tensors)
            save_file(tensors, path)

    return damage


def cut(file: str) -> Callable[[Path], object]:
    return lambda source: (source / file).write_bytes((source / file).read_bytes()[:-20])


def pointer(file: str) -> Callable[[Path], object]:
    return lambda source: (source / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def second_tar(source: Path) -> None:
    (source / "again.tar").write_bytes((source / "000006.tar").read_bytes())


F, L = "imagenet256_features", "imagenet256_labels"
R, S = "00000/img-mean-std-00000002.npy", "latents_rank01_shard000.safetensors"
DAMAGES: list[tuple[str, Callable[[Path], object], str]] = [
    ("fast-dit", lambda s: (s / L / "4.npy").unlink(), r"labels/4\.npy is missing; there are 11 latents and 10 labels"),
    ("fast-dit", lambda s: (s / F / "0.npy").unlink(), r"features/0\.npy is missing; there are 10 latents and 11"),
    ("fast-dit", cut(f"{F}/7.npy"), r"features/7\.npy was cut short: 108 bytes for float32 \(1, 2, 4, 4\)"),
    ("fast-dit", pointer(f"{F}/7.npy"), r"features/7\.npy is a pointer of Git LFS"),
    ("fast-dit", npy(f"{F}/7.npy", np.ones((1, 2, 4, 5))), r"7\.npy is of shape \(1, 2, 4, 5\), and .*0\.npy of"),
    ("fast-dit", npy(f"{F}/7.npy", np.ones(5)), r"7\.npy has shape \(5,\); a latent has \(C, h, w\)"),
    ("fast-dit", npy(f"{L}/7.npy", np.array([0.5])), r"labels/7\.npy: .* is no number of a class"),
    ("fast-dit", npy(f"{L}/7.npy", np.array([-1])), r"labels/7\.npy: -1 is no number of a class"),
    ("fast-dit", edited(f"{F}/7.npy", lambda a: a.fill(np.nan)), r"features/7\.npy: it holds NaN or infinity"),
    ("fast-dit", edited(f"{F}/7.npy", lambda a: a.fill(1e5)), r"features/7\.npy: it holds numbers too large"),
    ("fast-dit", lambda s: (s / "b_features").mkdir() or (s / "b_labels").mkdir(), "b_features, imagenet256_features"),
    ("repa", lambda s: (s / R).unlink(), r"00000002\.npy is missing; there are 10 latents and 11 labels"),
    ("repa", edited("dataset.json", lambda rows: rows.pop(2)), r"00000002\.npy has no label in dataset\.json"),
    ("repa", edited("dataset.json", lambda rows: rows.append(rows[2])), r"more than one label for 00000/img-mean"),
    ("repa", edited("dataset.json", lambda rows: rows[2].append(1)), r"in its labels is no pair of file and class"),
    ("repa", edited("dataset.json", lambda rows: rows.clear()), r"dataset\.json holds no labels"),
    ("repa", edited("dataset.json", lambda rows: rows[2].__setitem__(1, [0, 1])), r"\[0, 1\] is no number of a class"),
    ("repa", edited(R, lambda a: a.__imul__(-1)), r"00000002\.npy holds standard deviations below 0.*mean-logvar"),
    ("repa", cut(R), r"00000002\.npy was cut short"),
    ("lightningdit", cut(S), r"latents_rank01_shard000\.safetensors is no whole safetensors file"),
    ("lightningdit", lambda s: (s / S).unlink(), r"latents_rank01_shard000\.safetensors is missing"),
    ("lightningdit", lambda s: (s / S.replace("000", "001")).unlink(), r"its ranks hold 6, 5 latents"),
    ("lightningdit", lambda s: shutil.copy(s / S, s / S.replace("01", "1")), r"rank01_.* and .*rank1_.*, two files of"),
    (
        "lightningdit",
        edited(S, lambda t: t.pop("latents_flip")),
        "some of its files hold latents_flip, and some do not",
    ),
    ("lightningdit", edited(S, lambda t: t.pop("labels")), "holds latents, latents_flip, not latents and labels"),
    ("lightningdit", edited(S, lambda t: t.update(labels=t["labels"][1:])), "do not go with labels of shape"),
    (
        "lightningdit",
        edited(S, lambda t: t["latents"].__setitem__(3, float("inf"))),
        r"shard000\.safetensors row 3: it",
    ),
    ("webdataset", lambda s: os.truncate(s / "000006.tar", 3000), r"000006\.tar is no usable tar of latents"),
    ("webdataset", second_tar, r"class-1/img_06 is there twice, in 000006\.tar and again\.tar"),
]


@pytest.mark.parametrize(
    ("layout", "damage", "reason"), DAMAGES, ids=[f"{row[0]} {n}" for n, row in enumerate(DAMAGES)]
)
def test_what_is_wrong_is_named_and_nothing_is_left(
    source: Path, folder: Path, moments: Moments, layout: str, damage: Callable[[Path], object], reason: str
) -> None:
    WRITERS[layout](source, moments, LABELS)
    damage(source)
    with pytest.raises(UserError, match=reason):
        import_latents(source, folder, **(TARS if layout == "webdataset" else {}))
    assert [path.name for path in folder.parent.iterdir()] == ["source"]


def test_latents_that_were_not_multiplied_are_noticed_where_the_layout_says_they_are(
    source: Path, folder: Path, moments: Moments
) -> None:
    write_fast_dit(source, moments, LABELS, scale=1.0)
    with pytest.raises(UserError, match=r"have standard deviations of .*Say with --scale what these were"):
        import_latents(source, folder)
    assert import_latents(source, folder, multiplied_by=1.0).multiplied_by == 1.0


def test_tars_must_be_explained(source: Path, folder: Path, moments: Moments) -> None:
    write_tars(source, moments, LABELS, TAR_KEYS)
    for known in ({}, {"multiplied_by": 1.0}, {"holds": "latent"}):
        with pytest.raises(UserError, match="Add --scale S, what they were multiplied by"):
            import_latents(source, folder, **known)


def test_log_variances_that_are_none_are_refused(source: Path, folder: Path, moments: Moments) -> None:
    write_repa(source, np.abs(moments) * 3, LABELS)
    with pytest.raises(UserError, match="holds log-variances above 20, which no posterior has"):
        import_latents(source, folder, holds="mean-logvar")


@pytest.mark.parametrize(
    ("layout", "reason"),
    [
        (None, "looks like fast-dit and repa. Say which with --format"),
        ("lightningdit", r"holds no latents .*lightningdit: latents_rank00"),
        ("edm", "--format: edm is not one of fast-dit, repa, lightningdit, webdataset"),
    ],
)
def test_the_layout_is_asked_for_where_it_is_not_clear(
    source: Path, folder: Path, moments: Moments, layout: str | None, reason: str
) -> None:
    write_fast_dit(source, moments, LABELS)
    write_repa(source, moments, LABELS)
    with pytest.raises(UserError, match=reason):
        import_latents(source, folder, layout)


def test_folders_that_are_not_there_or_there_already(tmp_path: Path, source: Path) -> None:
    with pytest.raises(UserError, match="source is no folder"):
        import_latents(source, tmp_path / "new")
    source.mkdir()
    with pytest.raises(
        UserError, match=r"holds no latents in a layout that is known\. Looked for: fast-dit: NAME_feat"
    ):
        import_latents(source, tmp_path / "new")
    with pytest.raises(UserError, match="is there already"):
        import_latents(source, tmp_path)


# --- which latent is which image's


def test_tars_in_any_order_are_found_by_name(source: Path, folder: Path, moments: Moments) -> None:
    order = np.random.default_rng(2).permutation(COUNT)
    write_tars(source, moments[order], LABELS[order], [TAR_KEYS[i] for i in order])
    import_latents(source, folder, **TARS)
    latents = latents_of(folder)
    for keys in (KEYS, TAR_KEYS, [f"train/{key.split('/')[1]}" for key in KEYS]):
        rows = latents.rows_of(Images(keys=keys))
        np.testing.assert_array_equal(rows, np.argsort(order))


@pytest.mark.parametrize("suffix", [".png", ""])
def test_names_in_another_form_of_unicode_are_the_same(
    source: Path, folder: Path, suffix: str, moments: Moments
) -> None:
    order = np.random.default_rng(2).permutation(COUNT)
    keys = [f"été/é{number:02d}" for number in range(COUNT)]
    write_tars(source, moments[order], [0] * COUNT, [keys[i] for i in order])
    import_latents(source, folder, **TARS)
    images = Images([0] * COUNT, [normalize("NFD", f"{key}{suffix}") for key in keys])
    np.testing.assert_array_equal(latents_of(folder).rows_of(images), np.argsort(order))


def test_labels_are_compared_with_those_of_the_images(source: Path, folder: Path, moments: Moments) -> None:
    imported(source, folder, "repa", moments)
    latents = latents_of(folder)
    turned = (LABELS + 1) % CLASSES
    with pytest.raises(UserError, match=r"11 of 11 labels .*has label 0, but its image .*set data\.class_names"):
        latents.rows_of(Images(turned))
    shuffled = np.random.default_rng(0).permutation(LABELS)
    with pytest.raises(UserError, match=r"of 11 labels are not those of their images: .*labels were shuffled"):
        latents.rows_of(Images(shuffled))


@pytest.mark.parametrize("count", [COUNT - 1, COUNT + 1])
@pytest.mark.parametrize("layout", ["repa", "lightningdit"])
def test_there_are_as_many_latents_as_images(
    source: Path, folder: Path, moments: Moments, layout: str, count: int
) -> None:
    imported(source, folder, layout, moments)
    several = Images([0] * count, [f"{n}.png" for n in range(count)])
    reason = "labels are not those" if (layout, count) == ("lightningdit", COUNT + 1) else "latents, but `data` has"
    with pytest.raises(UserError, match=reason):
        latents_of(folder).rows_of(several)


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-600])]
)
def test_damaged_shards_are_named_with_what_to_do(
    source: Path, folder: Path, moments: Moments, damage: Callable[[Path], object]
) -> None:
    imported(source, folder, "repa", moments)
    damage(folder / "part-00000.tar")
    with pytest.raises(UserError, match=r"part-00000\.tar is .*Import the latents again: dit-scaling import-latents"):
        latents_of(folder)


def image_folder(root: Path, names: Sequence[str]) -> ImageFolder:
    """A folder of images, each of its number in ``names``."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number).save(root / name)
    classes = len({name.partition("/")[0] for name in names})
    return ImageFolder(source="image_folder", path=str(root), image_size=8, channels=1, held_out=2, classes=classes)


NESTED = ["cat/z.png", "cat/a/1.png", "cat/a-b/2.png", "cat/B.png", "cat-big/0.png", "cat-big/x/y/3.png", "dog/5.png"]


def written_by_path(root: Path) -> tuple[list[str], list[int]]:
    """The images of a folder as EDM2's and REPA's dataset_tools.py list and label them."""
    found = [str(Path(where, name)) for where, _, names in os.walk(root) for name in names]
    listed = [os.path.relpath(path, root) for path in sorted(found)]
    classes = sorted({name.split("/")[0] for name in listed})
    return listed, [classes.index(name.split("/")[0]) for name in listed]


def written_by_torchvision(root: Path) -> tuple[list[str], list[int]]:
    """The images of a folder as torchvision lists and labels them."""
    found = datasets.ImageFolder(str(root)).samples
    return [os.path.relpath(path, root) for path, _ in found], [label for _, label in found]


@pytest.mark.parametrize("layout", ["fast-dit", "lightningdit", "repa"])
@pytest.mark.parametrize("reversed_labels", [False, True])
def test_images_in_any_folders_get_the_latents_of_their_own(
    tmp_path: Path, source: Path, folder: Path, moments: Moments, layout: str, reversed_labels: bool
) -> None:
    data = image_folder(tmp_path / "images", NESTED)
    listed, labels = (written_by_path if layout == "repa" else written_by_torchvision)(tmp_path / "images")
    if reversed_labels:
        (tmp_path / "names.txt").write_text("dog\ncat-big\ncat\n")
        data = data.model_copy(update={"class_names": str(tmp_path / "names.txt")})
        labels = [2 - label for label in labels]
    WRITERS[layout](source, moments[: len(listed)], labels)
    import_latents(source, folder)
    images = open_source(data)
    rows = latents_of(folder).rows_of(images)
    assert [listed[row] for row in rows] == list(images.keys)


def test_repeated_latents_are_those_of_the_first_images(source: Path, folder: Path, moments: Moments) -> None:
    """Of 12 latents by four ranks the last three may repeat the first; of images that were deleted they do not."""
    labels = [0] * 6 + [1] * 5
    write_lightningdit(source, moments, labels, ranks=4)
    import_latents(source, folder)
    assert latents_of(folder).rows_of(Images(labels)).tolist() == list(range(COUNT))
    with pytest.raises(UserError, match=r"has 12 latents, but `data` has 9 images"):
        latents_of(folder).rows_of(Images(labels[:9], KEYS[:9]))


# --- what a study asks


def study_of(folder: Path, **changes: Any) -> Study:
    """A study of 2x4x4 latents and three classes; of generated images, which are always there."""
    config = json.loads(json.dumps(CONFIG))
    config["data"] = {"source": "shapes", "image_size": 32, "classes": CLASSES, "held_out": 10}
    config["vae"] = {"source": "pretrained", "path": "stabilityai/sd-vae-ft-mse", "latent_channels": 2}
    config["latents"] = {"shards": 1, "source": str(folder)}
    config["training"]["horizontal_flip"] = False
    for key, value in changes.items():
        section, name = key.split("__")
        config[section][name] = value
    return parse_study(config)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vae__latent_channels": 4}, r"has 2 channels, vae\.latent_channels 4"),
        ({"data__image_size": 64}, r"has latents of 4x4, but data\.image_size 64 and vae\.downsampling 8 make 8x8"),
        ({"data__classes": 2}, r"has a latent of class 2, but data\.classes is 2"),
        ({"training__horizontal_flip": True}, r"Set training\.horizontal_flip: false, or leave out latents\.source"),
        ({"latents__source": "nowhere"}, r"latents\.source: nowhere holds no imported\.json\. Make it: dit-scaling"),
    ],
)
def test_latents_that_a_study_cannot_use(
    source: Path, folder: Path, moments: Moments, changes: dict[str, Any], reason: str
) -> None:
    imported(source, folder, "repa", moments)
    require_usable(study_of(folder))
    with pytest.raises(UserError, match=reason):
        require_usable(study_of(folder, **changes))


def test_channels_of_a_posterior_are_not_taken_for_those_of_a_latent(
    source: Path, folder: Path, moments: Moments
) -> None:
    write_repa(source, moments, LABELS)
    import_latents(source, folder, holds="latent")
    with pytest.raises(UserError, match=r"has 4 channels, vae\.latent_channels 2\. If half of them .*--holds mean-std"):
        require_usable(study_of(folder))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"latents__precision": "float16"}, r"latents\.precision: nothing is encoded where latents\.source is set"),
        ({"vae": CONFIG["vae"]}, r"latents\.source: imported latents are of a given VAE"),
    ],
)
def test_settings_that_imported_latents_rule_out(changes: dict[str, Any], reason: str) -> None:
    config = study_of(Path("imported")).model_dump(mode="json") | {"latents": {"source": "x"}}
    for key, value in changes.items():
        section, _, name = key.partition("__")
        config[section] = {**config[section], name: value} if name else value
    with pytest.raises(UserError, match=reason):
        parse_study(config)


def test_the_command_says_what_to_write_into_a_config(source: Path, folder: Path, moments: Moments) -> None:
    write_fast_dit(source, moments, LABELS)
    answer = CliRunner().invoke(app, ["import-latents", str(source), str(folder)])
    assert answer.exit_code == 0, answer.output
    assert f"{folder}: 11 latents of 2x4x4 without mirrors, of 3 classes, from fast-dit" in answer.output
    assert "They have no log-variance" in answer.output
    line = next(line for line in answer.output.splitlines() if line.startswith("  latents:"))
    assert yaml.safe_load(line) == {"latents": {"source": str(folder)}}
    assert f"{line}\n  training: {{horizontal_flip: false}}" in answer.output


def test_the_line_to_copy_is_one_path_whatever_its_letters(source: Path, tmp_path: Path, moments: Moments) -> None:
    write_fast_dit(source, moments, LABELS)
    folder = tmp_path / 'my latents, "v2": {1}'
    answer = CliRunner().invoke(app, ["import-latents", str(source), str(folder)])
    line = next(line for line in answer.output.splitlines() if line.startswith("  latents:"))
    assert yaml.safe_load(line) == {"latents": {"source": str(folder)}}


def test_what_a_killed_import_left_goes_with_the_next(source: Path, folder: Path, moments: Moments) -> None:
    write_fast_dit(source, moments, LABELS)
    ours, other = (folder.with_name(f".tmp-0123456789ab-{name}") for name in (folder.name, f"big-{folder.name}"))
    for left in (ours, other):
        left.mkdir(parents=True)
    import_latents(source, folder)
    assert (ours.exists(), other.exists()) == (False, True)


def test_a_scale_that_is_no_number_is_refused(source: Path, folder: Path, moments: Moments) -> None:
    write_fast_dit(source, moments, LABELS)
    assert CliRunner().invoke(app, ["import-latents", str(source), str(folder), "--scale", "inf"]).exit_code == 2
    assert not folder.exists()


def config_with_images(tmp_path: Path, folder: Path) -> Path:
    """A config of eleven images whose latents are in ``folder``."""
    for key in KEYS:
        path = tmp_path / "images" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (32, 32)).save(path)
    config = study_of(folder).stored() | {
        "data": {**CONFIG["data"], "path": str(tmp_path / "images"), "image_size": 32, "classes": 3, "held_out": 2}
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return tmp_path / "study.yaml"


def test_check_compares_all_labels_and_says_how_latents_are_drawn(
    tmp_path: Path, source: Path, folder: Path, moments: Moments
) -> None:
    imported(source, folder, "fast-dit", moments)
    config = config_with_images(tmp_path, folder)
    answer = CliRunner().invoke(app, ["check", str(config)])
    assert answer.exit_code == 0, answer.output
    assert "Latents: 11 imported ones (one draw of the posterior of the image or of its mirror" in answer.output
    assert "'draws of the posterior'" in answer.output
    planned = CliRunner().invoke(app, ["plan", str(config), "--device", "h200"])
    assert planned.exit_code == 0, planned.output
    moved = KEYS[0].replace("class-0", "class-1")
    (tmp_path / "images" / KEYS[0]).rename(tmp_path / "images" / moved)
    answer = CliRunner().invoke(app, ["check", str(config)])
    assert answer.exit_code == 1
    assert "labels are not those of their images" in str(answer.exception)
    shutil.rmtree(tmp_path / "images")
    answer = CliRunner().invoke(app, ["check", str(config)])
    assert "Imported latents spare encoding, not the images" in str(answer.exception)


def test_check_needs_only_the_record_once_the_shards_are_deleted(
    tmp_path: Path, source: Path, folder: Path, moments: Moments
) -> None:
    imported(source, folder, "fast-dit", moments)
    config = config_with_images(tmp_path, folder)
    for tar in folder.glob("part-*"):
        tar.unlink()
    answer = CliRunner().invoke(app, ["check", str(config)])
    assert answer.exit_code == 0, answer.output
    assert "whose shards are gone; by their record each class has as many as images" in answer.output
    (tmp_path / "images" / KEYS[0]).rename(tmp_path / "images" / KEYS[0].replace("class-0", "class-1"))
    answer = CliRunner().invoke(app, ["check", str(config)])
    assert "latents of class 0, but `data` has" in str(answer.exception)


def test_the_digest_of_a_study_follows_the_latents_and_not_their_path(
    tmp_path: Path, source: Path, folder: Path, moments: Moments
) -> None:
    imported(source, folder, "repa", moments)
    study = load_study(config_with_images(tmp_path, folder))
    first = open_stages(study, tmp_path / "results").latents()
    moved = shutil.copytree(folder, tmp_path / "moved")
    elsewhere = study.model_copy(update={"latents": study.latents.model_copy(update={"source": str(moved)})})
    assert open_stages(elsewhere, tmp_path / "results").latents() == first
    shutil.rmtree(folder)
    write_repa(tmp_path / "other", moments * 2, LABELS)
    import_latents(tmp_path / "other", folder)
    assert open_stages(study, tmp_path / "results").latents() != first
