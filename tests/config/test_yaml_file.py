import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dit_scaling.common.errors import UserError
from dit_scaling.config.yaml_file import MOST_BYTES, read_yaml
from pipeline import ROOT, TINY, snakemake

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
MERGED_BOMB = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}], k{n}: 1}}\n" for n in range(1, 10)
)


def read(tmp_path: Path, text: str) -> object:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return read_yaml(path)


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_configs_are_read_as_by_pyyaml(path: Path) -> None:
    assert read_yaml(path) == yaml.safe_load(path.read_text())


keys = st.text("abxy01~ ", max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | keys,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(keys, children, max_size=3),
    max_leaves=12,
)


@given(config=st.dictionaries(keys, values, max_size=4))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, config: dict[str, object]) -> None:
    shared = {"first": config, "again": config}  # dumped with an anchor and an alias
    assert read(tmp_path_factory.mktemp("yaml"), yaml.safe_dump(shared)) == shared


@pytest.mark.parametrize(
    ("text", "key", "first", "second"),
    [
        ("study: a\nseed: 0\nstudy: b\n", "study", 1, 3),
        ("training:\n  steps: 1\n  seeds: [0]\n  steps: 2\n", "steps", 2, 4),
        ("a: [{b: 1,\n b: 2}]", "b", 1, 2),
        ('{"study": 1,\n"study": 2}', "study", 1, 2),
        ("a: 1\n'a': 2", "a", 1, 2),
        ("1: x\n0x1: y", "0x1", 1, 2),
        ("yes: x\non: y", "on", 1, 2),
        ("x: &x {a: 1}\ny:\n  <<: *x\n  <<: *x", "<<", 3, 4),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_lines(
    tmp_path: Path, text: str, key: str, first: int, second: int
) -> None:
    words = f"study.yaml: the key '{key}' stands in line {first} and again in line {second},"
    with pytest.raises(UserError, match=re.escape(words)):
        read(tmp_path, text)


def test_one_key_in_two_mappings_and_over_what_is_merged_in_is_none_twice(tmp_path: Path) -> None:
    text = "base: &base {a: 1, b: 2}\nother: {<<: *base, a: 3}\nlist: [{a: 1}, {a: 2}]\nsame: *base\n"
    assert read(tmp_path, text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "aliases written out this is over 100,000 values"),
        (MERGED_BOMB, "aliases written out this is over 100,000 values"),
        ("a: &a [*a]", "an alias stands within what it is an alias of"),
        ("a: &a {b: {c: *a}}", "an alias stands within what it is an alias of"),
        ("x" * (MOST_BYTES + 1), "is larger than"),
        ("seed: " + "9" * 5000, "not valid YAML"),
        ("when: 2026-13-45", "not valid YAML"),
        ("? [a, b]\n: 1", "not valid YAML"),
        ("a: 1\n---\na: 2", "not valid YAML"),
        ("a: *b", "not valid YAML"),
        ("", "no mapping"),
    ],
)
def test_what_no_config_needs_is_refused_at_once(tmp_path: Path, text: str, words: str) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match=r"study\.yaml") as refusal:
        read(tmp_path, text)
    assert words in str(refusal.value)
    assert time.monotonic() - started < 5


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [make_fifo, make_link_to_zeros, Path.mkdir])
def test_only_regular_files_are_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "study.yaml")
    with pytest.raises(UserError, match=r"study\.yaml cannot be read"):
        read_yaml(tmp_path / "study.yaml")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("study: other\n", "the key 'study' stands in line 6 and again in line"),
        (BOMB, "aliases written out"),
    ],
)
@pytest.mark.parametrize("given", [True, False], ids=["--configfile", "config/config.yaml"])
@pytest.mark.dag
def test_snakemake_refuses_it_too(tmp_path: Path, damage: str, words: str, given: bool) -> None:
    path = tmp_path / "config" / "config.yaml"
    path.parent.mkdir()
    path.write_text(TINY.read_text() + damage)
    assert words in refusal_of_snakemake(tmp_path, path if given else None)


@pytest.mark.parametrize("given", [True, False], ids=["--configfile", "config/config.yaml"])
@pytest.mark.parametrize("make", [make_fifo, make_link_to_zeros])
@pytest.mark.dag
def test_snakemake_refuses_what_is_no_regular_file(tmp_path: Path, make: Callable[[Path], None], given: bool) -> None:
    path = tmp_path / "config" / "config.yaml"
    path.parent.mkdir()
    make(path)
    words = "config/config.yaml cannot be read: it is no regular file"
    assert words in refusal_of_snakemake(tmp_path, path if given else None)


@pytest.mark.dag
def test_a_target_after_the_config_files_is_told_its_place(tmp_path: Path) -> None:
    words = "Error: train does not exist. Every word after --configfile is taken for a file: what to make stands before"
    assert words in refusal_of_snakemake(tmp_path, None, "--configfile", str(TINY), "train")


def refusal_of_snakemake(folder: Path, config: Path | None, *arguments: str) -> str:
    """What it says before it ends with code 2."""
    run = snakemake(folder, "--dry-run", *arguments, config=config)
    said = " ".join((run.stdout + run.stderr).split())
    assert run.returncode == 2, said
    assert "Traceback" not in said
    return said
