"""Data sets from the Hugging Face hub, from a server on this machine that answers as the hub does; no network."""

import errno
import hashlib
import json
import logging
import os
import threading
from collections import namedtuple
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import file_download
from huggingface_hub.utils import _http
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.common.errors import DiskError, UserError
from dit_scaling.config import load_study
from dit_scaling.config.image_settings import Parquet
from dit_scaling.data import hub as module
from dit_scaling.data.assets import Asset, open_stages
from dit_scaling.data.fetch import faults_named, fetch
from dit_scaling.data.fingerprint import fingerprint
from dit_scaling.data.hub import fetch_images
from dit_scaling.data.hub_record import RECORD_FILE
from dit_scaling.data.sources import check_source, open_source
from dit_scaling.plan.command import look_at
from parquet_sets import encoded, table, write, write_set
from pipeline import edited, snakemake

NAME = "someone/flowers"
FIRST, SECOND = "1" * 40, "2" * 40
TOKEN = "hf_thisIsASecret"


class Hub(ThreadingHTTPServer):
    """One repository with a folder of files at two commits; the newest is SECOND."""

    commits: dict[str, dict[str, bytes]]
    status = 200
    code = ""
    """X-Error-Code."""
    needs_token = False
    altered = b""
    """Served after the content of each file."""
    asked: list[str]
    tokens: set[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        hub, path = self.server, urlsplit(self.path).path
        hub.asked.append(path)
        hub.tokens.add(self.headers.get("Authorization", ""))
        if hub.needs_token and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._refuse(401, "GatedRepo")
        elif hub.status != 200:
            self._refuse(hub.status, hub.code)
        elif path.startswith(f"/api/datasets/{NAME}"):
            commit = path.removeprefix(f"/api/datasets/{NAME}").removeprefix("/revision/") or SECOND
            if commit in hub.commits:
                self._send(json.dumps(self._listing(commit)).encode())
            else:
                self._refuse(404, "RevisionNotFound")
        elif path.startswith(f"/datasets/{NAME}/resolve/"):
            commit, _, name = path.removeprefix(f"/datasets/{NAME}/resolve/").partition("/")
            self._send(hub.commits[commit][name] + hub.altered, commit)
        else:
            self._refuse(401, "")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _listing(self, commit: str) -> dict[str, Any]:
        files = self.server.commits[commit].items()
        return {
            "id": NAME,
            "sha": commit,
            "siblings": [
                {"rfilename": name, "size": len(content), "blobId": "b" * 40, **lfs(name, content)}
                for name, content in files
            ],
        }

    def _send(self, content: bytes, commit: str = "") -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def lfs(name: str, content: bytes) -> dict[str, Any]:
    """What the hub says of a file that it keeps as a large one."""
    sha256 = hashlib.sha256(content).hexdigest()
    return {"lfs": {"sha256": sha256, "size": len(content), "pointerSize": 1}} if name.endswith(".parquet") else {}


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(_http.time, "sleep", lambda _: None)
    old, new = tmp_path / "old", tmp_path / "new"
    for number, folder in enumerate((old, new)):
        write_set(folder / "data", 10 + number, 2, names=["ant", "bee", "cat"])
        write_set(folder / "data", 4, 1, "validation", names=["ant", "bee", "cat"])
        (folder / "README.md").write_text("About it.")
    with Hub(("127.0.0.1", 0), Handler) as running:
        running.commits, running.asked, running.tokens = {FIRST: content_of(old), SECOND: content_of(new)}, [], set()
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))  # looks so often whether to end
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def data(folder: Path, hub: str | None = NAME, split: str | None = "train") -> Parquet:
    given = {"image_size": 8, "classes": 3, "held_out": 2, "path": str(folder), "hub": hub, "split": split}
    return Parquet(source="parquet", **given)


def fetch_all(folder: Path, **more: Any) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in fetch_images(data(folder, **more))]


TRAIN = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]
VALIDATION = "data/validation-00000-of-00001.parquet"


def test_the_files_of_one_split_at_one_commit_are_fetched_once(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    assert fetch_all(folder, hub=f"{NAME}@{FIRST}") == TRAIN
    found = content_of(folder)
    assert {name: found[name] for name in TRAIN} == {name: hub.commits[FIRST][name] for name in TRAIN}
    assert sorted(name for name in found if not name.startswith(".")) == TRAIN
    source = open_source(data(folder, f"{NAME}@{FIRST}"))
    assert (len(source), source.class_names) == (10, ["ant", "bee", "cat"])
    hub.asked.clear()
    assert fetch_all(folder, hub=f"{NAME}@{FIRST}") == TRAIN
    assert hub.asked == [f"/api/datasets/{NAME}/revision/{FIRST}"]
    assert fetch_all(folder, hub=f"{NAME}@{FIRST}", split="validation") == [VALIDATION]
    assert len(open_source(data(folder, f"{NAME}@{FIRST}"))) == 10


def test_without_a_commit_the_newest_is_taken_and_recorded(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    fetch_all(folder)
    assert json.loads((folder / RECORD_FILE).read_text())["revision"] == SECOND
    before = fingerprint(data(folder))
    hub.commits["3" * 40] = hub.commits.pop(SECOND)
    with pytest.raises(UserError, match=rf"tree/{SECOND} answers 404"):
        fetch_all(folder)
    (folder / RECORD_FILE).write_text((folder / RECORD_FILE).read_text().replace(SECOND, FIRST))
    assert fingerprint(data(folder)) != before, "another commit counts as a change"


@pytest.mark.usefixtures("hub")
def test_a_commit_that_is_named_afterwards_changes_nothing(tmp_path: Path) -> None:
    def latents(hub: str) -> str:
        settings = {**data(tmp_path / "here", hub).model_dump(), "image_size": 32, "held_out": 4}
        return open_stages(load_study(edited(tmp_path, {"data": settings})), tmp_path).latents().digest

    fetch_all(tmp_path / "here")
    assert latents(NAME) == latents(f"{NAME}@{SECOND}")


@pytest.mark.parametrize(
    "given", ["flowers", f"{NAME}@main", f"{NAME}@v1.0", f"{NAME}@abc1234", "https://x/y", "a/b/c"]
)
def test_branches_and_tags_are_refused_by_the_config(tmp_path: Path, given: str) -> None:
    settings = {"source": "parquet", "path": "here", "image_size": 32, "classes": 3, "held_out": 2, "hub": given}
    with pytest.raises(UserError, match=r"data\.hub: .* is neither OWNER/NAME nor OWNER/NAME@COMMIT.* newest commit"):
        load_study(edited(tmp_path, {"data": settings}))


@pytest.mark.usefixtures("hub")
def test_jobs_and_checks_ask_for_prefetch_where_nothing_or_not_all_was_fetched(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    words = r"data\.hub: someone/flowers was not fetched to .*here yet\. Run `dit-scaling prefetch CONFIG`"
    for see in (check_source, open_source, fingerprint):
        with pytest.raises(UserError, match=words):
            see(data(folder))
    write_set(folder)
    with pytest.raises(UserError, match=words):
        open_source(data(folder))
    assert look_at(data(folder).model_copy(update={"count": 7})) == (7, "")
    (folder / "train-00000-of-00002.parquet").unlink()
    (folder / "train-00001-of-00002.parquet").unlink()
    fetch_all(folder)
    with pytest.raises(UserError, match=r"what was fetched to .*here holds no split 'validation'"):
        open_source(data(folder, split="validation"))
    with (folder / TRAIN[0]).open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(UserError, match=r"train-00000-of-00002\.parquet has [\d,]+ bytes instead of [\d,]+\. Run"):
        check_source(data(folder))
    (folder / TRAIN[0]).unlink()
    with pytest.raises(UserError, match=r"train-00000-of-00002\.parquet is missing\. Run"):
        check_source(data(folder))
    fetch_all(folder)
    check_source(data(folder))
    for other in ("someone/else", f"{NAME}@{FIRST}"):
        with pytest.raises(UserError, match=rf"data\.hub: {other}, but .* is {NAME}@{SECOND}"):
            check_source(data(folder, other))
        with pytest.raises(UserError, match=rf"data\.hub: {other}, but .* holds {NAME}@{SECOND}"):
            fetch_all(folder, hub=other)
    (folder / RECORD_FILE).write_text("[]")
    with pytest.raises(UserError, match=r"is no record of what was fetched\. Delete it"):
        check_source(data(folder))


def test_a_split_whose_fetch_was_stopped_leaves_the_others_as_they_are(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    fetch_all(folder)
    before = fingerprint(data(folder))
    hub.altered = b"x"
    with pytest.raises(UserError, match="its sha256 is"):
        fetch_all(folder, split="validation")
    assert VALIDATION in json.loads((folder / RECORD_FILE).read_text())["files"]
    check_source(data(folder))
    assert (fingerprint(data(folder)), len(open_source(data(folder)))) == (before, 11)
    with pytest.raises(UserError, match=r"validation-00000-of-00001\.parquet is missing\. Run"):
        check_source(data(folder, split="validation"))


@pytest.mark.usefixtures("hub")
def test_what_was_not_fetched_is_left_out(tmp_path: Path) -> None:
    fetch_all(tmp_path / "here")
    write(tmp_path / "here" / "data" / "train.parquet", table([encoded(0)], [0], ["ant", "bee", "cat"]))
    assert len(open_source(data(tmp_path / "here"))) == 11


def test_several_splits_need_a_name_before_anything_is_fetched(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds 2 splits: data/train \(2 files\), data/validation \(1 file\)"):
        fetch_all(tmp_path / "here", split=None)
    with pytest.raises(UserError, match=rf"data\.hub: {NAME}@{SECOND} holds no split 'test'"):
        fetch_all(tmp_path / "here", split="test")
    hub.commits[SECOND] = {"README.md": b"About it."}
    with pytest.raises(UserError, match=r"holds no \.parquet files"):
        fetch_all(tmp_path / "here")
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "", r"answers 401\. Check the name.* run `hf auth login` or set HF_TOKEN"),
        (401, "GatedRepo", rf"accept their terms at http://127.*/datasets/{NAME}, and run `hf auth login`"),
        (403, "GatedRepo", r"answers 403\. .* accept their terms at"),
        (404, "RepoNotFound", r"/datasets/someone/flowers answers 404\. Check the name in the config\."),
        (500, "", r"answers 500"),
    ],
)
def test_what_the_hub_refuses_is_told_with_what_to_do(
    hub: Hub, tmp_path: Path, status: int, code: str, words: str
) -> None:
    hub.status, hub.code = status, code
    with pytest.raises(UserError, match=words):
        fetch_all(tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_no_network_is_told(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"cannot be fetched: .* on a machine that has one"):
        fetch_all(tmp_path / "here")
    assert hub.asked == []


def test_content_that_is_not_what_the_hub_states_is_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.altered = b"x"
    with pytest.raises(UserError, match=r"train-00000-of-00002\.parquet: its sha256 is .* pinned one is"):
        fetch_all(tmp_path / "here")
    assert not list((tmp_path / "here").glob("data/*"))
    hub.altered = b""
    assert fetch_all(tmp_path / "here") == TRAIN


def test_a_disk_without_room_is_told_before_the_first_file(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")(10**12, 10**12, 5)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"here needs 0\.0 GB more, but its disk has 0\.0 GB free\. Make room"):
        fetch_all(tmp_path / "here")
    assert hub.asked == [f"/api/datasets/{NAME}"]


@pytest.mark.usefixtures("hub")
def test_a_disk_that_fills_up_is_no_fault_of_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(file_download, "http_get", fail)
    with pytest.raises(DiskError, match=os.strerror(errno.ENOSPC)):
        fetch_all(tmp_path / "here")
    assert not list((tmp_path / "here").glob("data/*"))


@pytest.mark.parametrize("place", ["HF_TOKEN", "file"])
def test_the_token_is_sent_and_said_nowhere(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    hub.needs_token = True
    with pytest.raises(UserError, match="answers 401"):
        fetch_all(tmp_path / "here")
    if place == "file":
        (tmp_path / "token").write_text(TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    else:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    config = edited(tmp_path, {"data": {**data(tmp_path / "here").model_dump(), "image_size": 32, "held_out": 4}})
    with caplog.at_level(logging.DEBUG):
        answer = CliRunner().invoke(app, ["prefetch", "--configfile", str(config)])
    assert answer.exit_code == 0, answer.output
    assert f"{TRAIN[0]}: whole" in answer.output
    assert f"Bearer {TOKEN}" in hub.tokens
    hub.status = 403
    with caplog.at_level(logging.DEBUG):
        refused = CliRunner().invoke(app, ["prefetch", "--configfile", str(config)])
    assert "answers 403" in str(refused.exception) + refused.output
    for said in (answer.output, str(refused.exception), refused.output, caplog.text):
        assert TOKEN not in said
    assert all(TOKEN.encode() not in content for content in content_of(tmp_path / "here").values())


def test_the_length_of_what_has_no_sha256_is_asked_with_the_token_too(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.needs_token = True
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    path = fetch(Asset("README.md", f"hf://datasets/{NAME}@{SECOND}/README.md", None), tmp_path / "here")
    assert path.read_text() == "About it."


def test_a_token_that_cannot_be_sent_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    words = r"cannot be fetched: Illegal header value b'Bearer <token>'"
    with pytest.raises(UserError, match=words), faults_named("https://hub.example"):
        raise ValueError(f"Illegal header value b'Bearer {TOKEN}'")


@pytest.mark.usefixtures("hub")
def test_after_prefetch_jobs_need_no_network(tmp_path: Path) -> None:
    settings = {**data(tmp_path / "here").model_dump(), "image_size": 32, "held_out": 4}
    config = edited(tmp_path, {"data": settings})
    run = snakemake(tmp_path, "--cores", "1", "results/tiny/data/data.json", config=config)
    assert run.returncode != 0
    assert "Run `dit-scaling prefetch CONFIG`" in run.stderr
    fetch_all(tmp_path / "here")
    run = snakemake(tmp_path, "--cores", "1", "results/tiny/data/data.json", config=config)
    assert run.returncode == 0, run.stderr
    facts = json.loads((tmp_path / "results/tiny/data/data.json").read_text())
    assert (facts["images"], facts["hub"], facts["class_names"]) == (11, f"{NAME}@{SECOND}", ["ant", "bee", "cat"])
