import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_scaling.common.errors import DiskError, UserError
from dit_scaling.common.files import (
    atomic_folder,
    atomic_path,
    canonical_json,
    digest,
    read_json,
    remove_leftovers,
    remove_leftovers_of,
    require_writable,
    sha256_file,
    write_json,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_write_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "result.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with atomic_folder(target) as temporary:
        (temporary / "a").write_text("1")
    with pytest.raises(RuntimeError), atomic_folder(target) as temporary:
        (temporary / "b").write_text("2")
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["a"]
    with atomic_folder(target) as temporary:
        (temporary / "c").write_text("3")
    assert [path.name for path in target.iterdir()] == ["c"]


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans() | st.none()))
def test_equal_values_have_equal_text_and_digest(value: dict[str, object]) -> None:
    shuffled = dict(reversed(list(value.items())))
    assert canonical_json(value) == canonical_json(shuffled)
    assert digest(value) == digest(shuffled)
    assert json.loads(canonical_json(value)) == value


def test_digests_tell_values_apart() -> None:
    assert len({digest(value) for value in (1, "1", [1], {"a": 1}, {"a": "1"}, None)}) == 6


def test_not_a_number_is_refused_in_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"fid": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_sha256_is_the_one_of_the_standard(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc").startswith("ba7816bf8f01cfea")  # FIPS 180-2, appendix B.1


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe"])
def test_unreadable_json_is_a_message_with_the_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "facts.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"facts\.json"):
        read_json(path)


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system"),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
@pytest.mark.parametrize("writer", [atomic_path, atomic_folder])
def test_a_fault_of_the_disk_names_the_file_and_leaves_nothing(
    tmp_path: Path, writer: Callable[[Path], AbstractContextManager[Path]], fault: Exception
) -> None:
    with (
        pytest.raises(DiskError, match=r"result cannot be written: (No space left|Read-only)"),
        writer(tmp_path / "result"),
    ):
        raise fault
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_in_the_code_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"), atomic_path(tmp_path / "result"):
        (tmp_path / "absent").read_text()


Writer = Callable[[Path], AbstractContextManager[Path]]


@contextmanager
def write_folder(path: Path) -> Iterator[Path]:
    with atomic_folder(path) as temporary:
        yield temporary / "inside"


@pytest.mark.parametrize("there_already", [True, False])
@pytest.mark.parametrize("writer", [atomic_path, write_folder])
def test_a_link_is_written_through(tmp_path: Path, writer: Writer, there_already: bool) -> None:
    (tmp_path / "disk").mkdir()
    target, link, second = tmp_path / "disk" / "target", tmp_path / "link", tmp_path / "second"
    second.symlink_to("link")
    link.symlink_to("disk/target")
    for content in ["old", "new"] if there_already else ["new"]:
        with writer(second) as temporary:
            temporary.write_text(content)
    assert link.is_symlink()
    assert second.is_symlink()
    assert (target / "inside" if target.is_dir() else target).read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"disk", "link", "second"}
    assert list((tmp_path / "disk").iterdir()) == [target]


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def make_link_to_a_fifo(path: Path) -> None:
    os.mkfifo(path.with_name("fifo"))
    path.symlink_to("fifo")


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_link_to_nowhere(path: Path) -> None:
    path.symlink_to("nowhere/at/all")


@pytest.mark.parametrize("obstacle", [make_fifo, make_device, make_link_to_a_fifo, make_loop, make_link_to_nowhere])
@pytest.mark.parametrize("writer", [atomic_path, atomic_folder])
def test_what_a_rename_would_destroy_is_refused(
    tmp_path: Path, writer: Writer, obstacle: Callable[[Path], None]
) -> None:
    path = tmp_path / "result"
    obstacle(path)
    before = {file.name: file.lstat() for file in tmp_path.iterdir()}
    with pytest.raises(UserError, match=r"result is (there already and is not|a link)"), writer(path):
        pytest.fail("something was to be written")
    assert {file.name: file.lstat().st_ino for file in tmp_path.iterdir()} == {
        name: status.st_ino for name, status in before.items()
    }
    assert path.lstat().st_mode == before["result"].st_mode


def test_a_folder_and_a_file_do_not_replace_each_other(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="folder is there already"), atomic_path(tmp_path / "folder"):
        pytest.fail("something was to be written")
    with pytest.raises(UserError, match="file is there already"), atomic_folder(tmp_path / "file"):
        pytest.fail("something was to be written")


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o022, 0o002, 0])
def test_files_and_folders_get_the_umasks_mode(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "file") as temporary:
            temporary.unlink()  # as some libraries do
            os.close(os.open(temporary, os.O_CREAT, 0o600))
        with atomic_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~umask


def test_leftovers_of_a_file_or_a_folder_are_removed_and_no_others(tmp_path: Path) -> None:
    for name in (".tmp-1-a.json", ".tmp-2-a.json", ".tmp-3-b.json", "a.json"):
        (tmp_path / name).touch()
    (tmp_path / ".tmp-4-a.json" / "deep").mkdir(parents=True)
    remove_leftovers_of(tmp_path / "a.json")
    assert {path.name for path in tmp_path.iterdir()} == {".tmp-3-b.json", "a.json"}
    (tmp_path / ".tmp-5-c" / "deep").mkdir(parents=True)
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a.json"}


def test_a_file_is_tried_without_a_trace(tmp_path: Path) -> None:
    require_writable(tmp_path / "folder" / "new.json")
    assert list((tmp_path / "folder").iterdir()) == []
    (tmp_path / "old.json").write_text("old")
    require_writable(tmp_path / "old.json")
    assert (tmp_path / "old.json").read_text() == "old"
    with pytest.raises(UserError, match="is not a regular file"):
        require_writable(tmp_path)
