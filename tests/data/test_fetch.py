"""Fetching into the cache, from a server on this machine that can be made to fail; no network."""

import errno
import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from huggingface_hub import file_download
from huggingface_hub.utils import _http
from typer.testing import CliRunner

from dit_scaling.cli import app
from dit_scaling.common.errors import DiskError, UserError
from dit_scaling.config import load_study
from dit_scaling.data import assets
from dit_scaling.data.assets import (
    HUB_FILES,
    HUB_PINS,
    KNOWN,
    Asset,
    locate_file,
    locate_vae,
    needed_assets,
    open_stages,
)
from dit_scaling.data.fetch import _address, fetch
from pipeline import OFFLINE, ROOT, edited, plan, snakemake

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT under every path, and what the hub says of its files beside it."""

    content = CONTENT
    tear_after: int | None = None
    """Break the connection after so many bytes."""
    length: str | None = ""
    """Stated instead of the true one; None to state none."""
    status = 200
    wait = 0.0
    """Seconds before the answer."""
    asked: list[tuple[str, str]]
    begins: list[int]
    """First byte of each answer."""

    def url(self, path: str = "file.bin") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.asked.append((self.command, self.path))
        if server.wait:
            time.sleep(server.wait)
        if self.path.endswith("missing") or server.status != 200:
            self.send_error(404 if server.status == 200 else server.status)
            return
        begin = int(self.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
        server.begins.append(begin)
        size = len(server.content)
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{size - 1}/{size}")
        length = str(size - begin) if server.length == "" else server.length
        if length is not None:
            self.send_header("Content-Length", length)
        self.send_header("ETag", '"etag"')
        self.send_header("X-Repo-Commit", "c" * 40)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(server.content[begin : server.tear_after])

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub tries again after seconds, ever longer."""
    monkeypatch.setattr(_http.time, "sleep", lambda _: None)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked, running.begins = [], []
        monkeypatch.setenv("HF_ENDPOINT", running.url("").rstrip("/"))
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))  # looks so often whether to end
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def asset(server: Server, sha256: str | None = SHA256, name: str = "deep/file.bin") -> Asset:
    return Asset(name, server.url(), sha256)


def hub_asset(_server: Server, sha256: str | None = SHA256, name: str = "someone/vae/config.json") -> Asset:
    return Asset(name, "hf://someone/vae@main/config.json", sha256)


ASSETS = pytest.mark.parametrize("make", [asset, hub_asset], ids=["file", "hub"])
Maker = Callable[..., Asset]


def files(folder: Path) -> set[str]:
    """Every file that is not partial."""
    paths = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {path for path in paths if not path.startswith(".partial/")}


@ASSETS
def test_a_file_is_fetched_once(server: Server, tmp_path: Path, make: Maker) -> None:
    path = fetch(make(server), tmp_path)
    assert path == tmp_path / make(server).name
    assert path.read_bytes() == CONTENT
    asked = list(server.asked)
    fetch(make(server), tmp_path)
    assert server.asked == asked
    assert files(tmp_path) == {make(server).name}


@ASSETS
def test_another_file_than_the_pinned_one_is_not_kept(server: Server, tmp_path: Path, make: Maker) -> None:
    with pytest.raises(UserError, match=rf"(?s)(?=.*{'0' * 64})(?=.*{SHA256})"):
        fetch(make(server, "0" * 64), tmp_path)
    assert files(tmp_path) == set()


def test_a_file_damaged_in_the_cache_is_seen(server: Server, tmp_path: Path) -> None:
    path = fetch(asset(server), tmp_path)
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(UserError, match="Delete what is there and fetch it again"):
        fetch(asset(server), tmp_path)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("sha256", [SHA256, None], ids=["pinned", "unpinned"])
@pytest.mark.parametrize("length", ["", None], ids=["length stated", "not stated"])
@ASSETS
def test_a_torn_download_is_no_file(
    server: Server, tmp_path: Path, make: Maker, length: str | None, sha256: str | None
) -> None:
    server.tear_after, server.length = 3000, length
    with pytest.raises(UserError, match=re.escape(server.url(""))):
        fetch(make(server, sha256), tmp_path)
    assert files(tmp_path) == set()
    server.tear_after, server.length = None, ""
    assert fetch(make(server, sha256), tmp_path).read_bytes() == CONTENT


def test_a_download_from_the_hub_resumes_where_it_was_torn(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one call, that is; of one that was killed the library keeps nothing."""
    server.tear_after = 3000
    monkeypatch.setattr(file_download.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr(_http.time, "sleep", lambda _: setattr(server, "tear_after", None))
    assert fetch(hub_asset(server), tmp_path).read_bytes() == CONTENT
    assert server.begins[-1] == 3000


@ASSETS
def test_what_is_not_pinned_needs_a_server_that_says_how_long_it_is(
    server: Server, tmp_path: Path, make: Maker
) -> None:
    server.length = None
    with pytest.raises(UserError, match="the server says that there are any number, so whether it is whole"):
        fetch(make(server, None), tmp_path)
    assert files(tmp_path) == set()
    assert fetch(make(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("status", [401, 403, 404, 416, 500, 503])
@ASSETS
def test_a_server_that_refuses_is_told_with_its_answer(
    server: Server, tmp_path: Path, make: Maker, status: int
) -> None:
    server.status = status
    with pytest.raises(UserError, match=rf"http://127.* answers {status}\. Check the name"):
        fetch(make(server), tmp_path)
    assert files(tmp_path) == set()


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("length", ["many", "-5", "1e3", "99999999", str(10**30)])
@ASSETS
def test_a_length_that_is_none_or_wrong(server: Server, tmp_path: Path, make: Maker, length: str) -> None:
    server.length = length
    with suppress(UserError):
        assert fetch(make(server), tmp_path).read_bytes() == CONTENT
    assert files(tmp_path) <= {make(server).name}


@pytest.mark.parametrize("endpoint", ["", None])
def test_an_empty_endpoint_names_no_mirror(monkeypatch: pytest.MonkeyPatch, endpoint: str | None) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    if endpoint is not None:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert _address(Asset("x", "hf://a/b@main/c", None)) == "https://huggingface.co/a/b/resolve/main/c"


@pytest.mark.parametrize("endpoint", ["hub.example", "file:///etc", "//hub.example", "https://", "ftp://hub.example"])
def test_an_endpoint_that_is_no_web_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(UserError, match="HF_ENDPOINT"):
        fetch(Asset("config.json", "hf://someone/vae@main/config.json", SHA256), tmp_path)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "/etc/hostname", "127.0.0.1/file", "ftp://127.0.0.1/x", ""])
def test_only_web_addresses_are_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="only addresses that begin with https:// or http://"):
        fetch(Asset("file.bin", url, None), tmp_path)
    assert files(tmp_path) == set()


@pytest.mark.parametrize("name", ["../out.bin", "deep/../../out.bin", "/tmp/out.bin"])
def test_a_name_does_not_climb_out_of_the_cache(server: Server, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="leads out of the cache"):
        fetch(asset(server, name=name), tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []
    assert server.asked == []


def test_links_that_lie_where_a_download_lies_are_not_written_through(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    cache = tmp_path / "cache"
    (cache / "deep").mkdir(parents=True)
    for name in ("file.bin.part", "file.bin.tmp", "file.bin.incomplete"):
        (cache / "deep" / name).symlink_to(target)
    assert fetch(asset(server), cache).read_bytes() == CONTENT
    assert target.read_text() == "mine"


@pytest.mark.parametrize("sha256", [SHA256, None], ids=["pinned", "unpinned"])
@ASSETS
def test_four_at_once_are_one_download(server: Server, tmp_path: Path, make: Maker, sha256: str | None) -> None:
    server.wait = 0.2
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(make(server, sha256), tmp_path), range(4)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert sum(command == "GET" and "api" not in path for command, path in server.asked) == 1


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
@ASSETS
def test_a_full_cache_is_no_fault_of_the_network(
    server: Server, tmp_path: Path, make: Maker, fault: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(fault, os.strerror(fault))

    with monkeypatch.context() as patch:
        patch.setattr(requests.Response, "iter_content", fail)
        patch.setattr(file_download, "http_get", fail)
        with pytest.raises(DiskError, match=os.strerror(fault)):
            fetch(make(server), tmp_path)
    assert fetch(make(server), tmp_path).read_bytes() == CONTENT


def test_an_unpinned_file_is_held_to_what_was_fetched_first(server: Server, tmp_path: Path) -> None:
    path = fetch(asset(server, None), tmp_path)
    record = path.with_name("file.bin.sha256")
    assert record.read_text() == f"{SHA256}  file.bin\n", "the form that sha256sum --check reads"
    path.unlink()
    server.content = CONTENT + b"more"
    with pytest.raises(UserError, match=rf"the recorded one is {SHA256}"):
        fetch(asset(server, None), tmp_path)
    assert files(tmp_path) == {"deep/file.bin.sha256"}


@pytest.mark.usefixtures("no_waiting")
@ASSETS
def test_no_network_names_the_command_for_a_machine_that_has_one(
    server: Server, tmp_path: Path, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    nowhere = replace(make(server), url=make(server).url.replace(server.url(""), "http://127.0.0.1:9/"))
    with pytest.raises(UserError, match=r"cannot be fetched: .* `dit-scaling prefetch CONFIG`"):
        fetch(nowhere, tmp_path)
    assert files(tmp_path) == set()


# --- what a study needs


GIVEN_VAE = {"source": "pretrained", "path": "someone/vae", "latent_channels": 2, "downsampling": 4}


def test_every_pin_is_a_sha256_and_only_one_known_file_lacks_one() -> None:
    pins = [asset.sha256 for asset in KNOWN.values()] + [pin for _, pair in HUB_PINS.values() for pin in pair]
    assert all(len(pin) == 64 and int(pin, 16) for pin in pins if pin)
    assert [name for name, known in KNOWN.items() if known.sha256 is None] == ["DiT-XL-2-512x512.pt"]


def test_a_study_that_trains_its_vae_needs_nothing() -> None:
    assert needed_assets(load_study(ROOT / "config" / "config.yaml")) == ()


def test_a_hub_id_is_two_files_of_a_pinned_revision(tmp_path: Path) -> None:
    for hub_id, (revision, pins) in HUB_PINS.items():
        config = edited(tmp_path, {"vae": {**GIVEN_VAE, "path": hub_id}})
        found = needed_assets(load_study(config))
        assert [asset.name for asset in found] == [f"{hub_id}/{file}" for file in HUB_FILES]
        assert [asset.sha256 for asset in found] == list(pins)
        assert [asset.url for asset in found] == [f"hf://{hub_id}@{revision}/{file}" for file in HUB_FILES]


def test_feature_networks_and_references_are_fetched_by_name(tmp_path: Path) -> None:
    inception = {"kind": "inception", "reference": "VIRTUAL_imagenet256_labeled.npz"}
    config = edited(
        tmp_path, {"metrics.beside": [inception, {"kind": "clean"}, {"kind": "dinov2", "weights": "own.pth"}]}
    )
    names = [asset.name for asset in needed_assets(load_study(config))]
    assert names == ["inception-2015-12-05.pt", "VIRTUAL_imagenet256_labeled.npz"]


def test_local_files_go_before_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cache = Path("cache")
    assert locate_vae("someone/vae", cache) == cache / "someone/vae"
    assert locate_file("DiT-XL-2-256x256.pt", cache, "checkpoints") == cache / "DiT-XL-2-256x256.pt"
    Path("someone/vae").mkdir(parents=True)
    Path("DiT-XL-2-256x256.pt").touch()
    assert locate_vae("someone/vae", cache) == Path("someone/vae")
    assert locate_file("DiT-XL-2-256x256.pt", cache, "checkpoints") == Path("DiT-XL-2-256x256.pt")
    with pytest.raises(UserError, match=r"vae\.path: /nowhere/vae is neither a folder here nor a hub id"):
        locate_vae("/nowhere/vae", cache)
    with pytest.raises(UserError, match=r"checkpoints\.X: my\.pt does not exist"):
        locate_file("my.pt", cache, "checkpoints.X")


@pytest.mark.parametrize("spelling", ["{}", "./{}", "../here/{}"])
def test_replaced_content_counts_however_its_path_is_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    here = tmp_path / "here"
    (here / "vae").mkdir(parents=True)
    monkeypatch.chdir(here)
    paths = {"vae": here / "vae" / "config.json", "weights": here / "weights.pt", "reference": here / "reference.npz"}
    for path in paths.values():
        path.write_text("first")
    inception = {"kind": "inception", "reference": spelling.format("reference.npz")}
    changes = {
        "vae": {**GIVEN_VAE, "path": spelling.format("vae/")},
        "checkpoints": {"DiT-Nano/2": spelling.format("weights.pt")},
        "metrics.beside": [inception],
    }
    study = load_study(edited(tmp_path, changes))

    def digests() -> dict[str, str]:
        stages = open_stages(study, here / "results")
        run = "DiT-Nano-2", 0, 20, 1.0
        return {
            "vae": stages.vae().digest,
            "samples": stages.sample(*run).digest,
            "reference": stages.reference("inception").digest,
            "features": stages.extractor("inception").digest,
            "scores": stages.score(*run, ("fd",)).digest,
        }

    def changed_by(given: str) -> set[str]:
        before = digests()
        paths[given].write_text("replaced")
        after = digests()
        assert digests() == after
        return {stage for stage in after if after[stage] != before[stage]}

    assert changed_by("reference") == {"reference", "scores"}
    assert changed_by("weights") == {"samples", "scores"}
    assert changed_by("vae") == {"vae", "samples", "reference", "scores"}


def test_a_fetched_name_stands_for_its_content(tmp_path: Path) -> None:
    reference = "VIRTUAL_imagenet256_labeled.npz"
    config = edited(tmp_path, {"metrics.beside": [{"kind": "inception", "reference": reference}]})
    settings = open_stages(load_study(config), tmp_path).reference("inception")
    assert settings.extractor == open_stages(load_study(config), tmp_path).extractor("inception")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("vae", {**GIVEN_VAE, "path": "/nowhere/vae"}, r"vae\.path: /nowhere/vae"),
        ("checkpoints", {"DiT-Nano/2": "no.pt"}, r"checkpoints\.DiT-Nano/2: no\.pt does not exist"),
        ("metrics.beside", [{"kind": "clean", "reference": "no.npz"}], r"metrics: clean: reference: no\.npz does not"),
    ],
)
def test_a_given_file_that_is_missing_is_named(tmp_path: Path, key: str, value: object, words: str) -> None:
    study = load_study(edited(tmp_path, {key: value}))
    with pytest.raises(UserError, match=words):
        open_stages(study, tmp_path)


def test_prefetch_fetches_what_the_config_names(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(
        assets.KNOWN, "DiT-XL-2-256x256.pt", Asset("DiT-XL-2-256x256.pt", server.url("DiT/weights.pt"), SHA256)
    )
    changes = {
        "vae": GIVEN_VAE,
        "checkpoints": {"DiT-Nano/2": "DiT-XL-2-256x256.pt"},
        "resources.cache": str(tmp_path / "cache"),
    }
    config = edited(tmp_path, changes)
    with caplog.at_level(logging.INFO):
        answer = CliRunner().invoke(app, ["prefetch", "--configfile", str(config)])
    assert answer.exit_code == 0, answer.output
    names = {f"someone/vae/{file}" for file in HUB_FILES}
    assert {name for name in files(tmp_path / "cache") if not name.endswith(".sha256")} == {
        *names,
        "DiT-XL-2-256x256.pt",
    }
    assert {path for _, path in server.asked if not path.startswith("/api/")} == {
        *(f"/someone/vae/resolve/main/{file}" for file in HUB_FILES),
        "/DiT/weights.pt",
    }
    assert "DiT-XL-2-256x256.pt: whole, sha256 as pinned" in answer.output
    assert "config.json: whole, sha256 as recorded" in answer.output


@pytest.mark.usefixtures("server")
def test_snakemake_fetches_what_is_missing_and_leaves_alone_what_is_there(tmp_path: Path) -> None:
    config = edited(tmp_path, {"vae": GIVEN_VAE})
    wanted = [f"cache/someone/vae/{file}" for file in HUB_FILES]
    assert plan(tmp_path, "--until", "latents", config=config)["fetch"] == set(wanted)
    run = snakemake(tmp_path, "--cores", "1", *wanted, config=config)
    assert run.returncode == 0, run.stderr
    assert all((tmp_path / path).read_bytes() == CONTENT for path in wanted)
    assert "fetch" not in plan(tmp_path, "--until", "latents", "--forceall", config=config)


def test_with_the_network_cut_a_vae_from_the_cache_serves_and_a_missing_one_names_the_command(
    toy_vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # else huggingface_hub tries again for a minute
    config = edited(tmp_path, {"vae": GIVEN_VAE, "latents.shards": 50})
    shard = "results/tiny/latents/train-00000.tar"
    refused = snakemake(tmp_path, "--cores", "1", shard, config=config)
    assert refused.returncode != 0
    assert "dit-scaling prefetch" in refused.stderr
    shutil.copytree(toy_vae.parent / "autoencoder", tmp_path / "cache" / "someone" / "vae")
    run = snakemake(tmp_path, "--cores", "1", shard, config=config)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / shard).exists()


def test_the_network_of_the_pipelines_tests_is_cut() -> None:
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=9)"
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(OFFLINE)}, capture_output=True, text=True, check=False
    )
    assert "the network is cut: ('192.0.2.1', 80)" in run.stderr
