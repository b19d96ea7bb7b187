"""Fetching from a Hub: huggingface_hub itself, against a small server that answers as the Hub and its storage do."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import huggingface_hub
import pytest
import yaml

from alpamayo_ros.bundle.fetching import Fetched, fetch
from alpamayo_ros.bundle.folder import read_bundle
from alpamayo_ros.profile import shared_files
from alpamayo_ros.types import InvalidInput

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "maker/model"
CONFIG = b'{"model_type": "alpamayo_r1", "vlm_config": {}}\n'
SHARD = bytes(range(256)) * 4096  # 1 MiB


class Asked(NamedTuple):
    method: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class Served:
    """What the Hub has and how it behaves."""

    files: dict[str, bytes] = field(default_factory=lambda: {"config.json": CONFIG, "model.safetensors": SHARD})
    commit: str = COMMIT
    refusal: tuple[int, str] | None = None  # HTTP status and X-Error-Code for everything
    cuts: list[int] = field(default_factory=list)  # the storage ends its next answers after so many bytes
    asked: list[Asked] = field(default_factory=list)
    storage: str = ""  # address of the storage, another origin


class Hub(BaseHTTPRequestHandler):
    """HEAD and GET of /maker/model/resolve/<commit>/<file>: small files directly, large ones redirected to the storage."""

    served: Served
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.served.asked.append(Asked(self.command, self.path, self.headers["Range"], self.headers["Authorization"]))
        name = self.path.rpartition("/")[2]
        content = self.served.files.get(name, b"")
        if self.served.refusal is not None:
            status, code = self.served.refusal
            self.answer(status, b"", {"X-Error-Code": code, "X-Error-Message": "no"})
        elif self.path.startswith("/storage/"):
            self.answer_part(content)
        elif name.endswith(".safetensors"):
            linked = {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"'}
            self.answer(302, b"", {**linked, "X-Repo-Commit": self.served.commit, "Location": f"{self.served.storage}/{name}"})
        else:
            self.answer(200, content, {"X-Repo-Commit": self.served.commit, "ETag": f'"{git_sha1(content)}"'})

    def answer_part(self, content: bytes) -> None:
        start = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"]).group(1)) if self.headers["Range"] else 0  # type: ignore[union-attr]
        self.answer(
            206 if start else 200, content[start:], {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        )

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET" and body:
            cut = self.served.cuts.pop(0) if self.path.startswith("/storage/") and self.served.cuts else len(body)
            self.wfile.write(body[:cut])
            self.close_connection = cut < len(body)


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Served, str]]:
    """What a Hub serves, and its address."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between two tries
    served = Served()
    handler = type("ThisHub", (Hub,), {"served": served})
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    for server in servers:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    address, served.storage = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    served.storage += "/storage"
    yield served, address
    huggingface_hub.close_session()
    for server in servers:
        server.shutdown()
        server.server_close()


def bundle(folder: Path, **changes: object) -> Path:
    """A bundle's folder whose source.yaml pins what the Hub serves, but for the changes to the shard's entry."""
    folder.mkdir()
    shutil.copy(shared_files() / "models" / "alpamayo_r1_10b" / "profile.yaml", folder)
    files: list[dict[str, object]] = [
        {"name": "backbone.json", "path": "config.json", "bytes": len(CONFIG), "git_sha1": git_sha1(CONFIG)},
        {"name": "model.safetensors", "bytes": len(SHARD), "sha256": hashlib.sha256(SHARD).hexdigest()} | changes,
    ]
    source = {"repositories": [{"repository": REPOSITORY, "revision": COMMIT, "files": files}]}
    (folder / "source.yaml").write_text(yaml.safe_dump(source))
    return folder


def fetched(folder: Path, address: str, out: Path | None = None) -> Fetched:
    return fetch(read_bundle(folder), out or folder, address)


def refusal(folder: Path, address: str) -> str:
    with pytest.raises(InvalidInput) as refused:
        fetched(folder, address)
    assert not (folder / "model.safetensors").exists()
    return str(refused.value)


# ------------------------------------------------------------------------------------------------------------------ fetched


def test_files_arrive_under_their_names_and_are_verified_again_the_next_time(hub: tuple[Served, str], tmp_path: Path) -> None:
    served, address = hub
    folder = bundle(tmp_path / "bundle")
    total = len(CONFIG) + len(SHARD)
    assert fetched(folder, address) == Fetched(str(folder), files=2, bytes=total, downloaded=total, verified=2)
    assert (folder / "backbone.json").read_bytes() == CONFIG
    assert (folder / "model.safetensors").read_bytes() == SHARD
    assert not list(folder.glob("*.part"))
    served.asked.clear()
    assert fetched(folder, address) == Fetched(str(folder), files=2, bytes=total, downloaded=0, verified=2)
    assert served.asked == []


def test_another_folder_becomes_a_bundle_itself(hub: tuple[Served, str], tmp_path: Path) -> None:
    folder, out = bundle(tmp_path / "bundle"), tmp_path / "large" / "disk"
    fetched(folder, hub[1], out)
    assert {path.name for path in folder.iterdir()} == {"profile.yaml", "source.yaml"}
    assert read_bundle(out).profile == read_bundle(folder).profile
    assert (out / "model.safetensors").read_bytes() == SHARD


def test_the_token_goes_to_the_hub_and_not_to_its_storage(hub: tuple[Served, str], tmp_path: Path) -> None:
    served, address = hub
    fetched(bundle(tmp_path / "bundle"), address)
    tokens = {asked.authorization for asked in served.asked if asked.path.startswith("/maker")}
    assert tokens == {"Bearer hf_secret"}
    assert [asked.authorization for asked in served.asked if asked.path.startswith("/storage")] == [None]


def test_a_connection_that_is_cut_goes_on_where_it_stopped(
    hub: tuple[Served, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)  # of 10 MiB: what is kept is whole chunks
    served, address = hub
    served.cuts = [300_000]
    folder = bundle(tmp_path / "bundle")
    fetched(folder, address)
    assert (folder / "model.safetensors").read_bytes() == SHARD
    assert [asked.range for asked in served.asked if asked.path.startswith("/storage")] == [None, "bytes=300000-"]


@pytest.mark.parametrize(("arrived", "asked_for"), [(SHARD[:4000], "bytes=4000-"), (SHARD, None), (SHARD + b"more", None)])
def test_a_fetch_that_was_killed_goes_on_where_it_stopped(
    hub: tuple[Served, str], tmp_path: Path, arrived: bytes, asked_for: str | None
) -> None:
    served, address = hub
    folder = bundle(tmp_path / "bundle")
    (folder / "model.safetensors.part").write_bytes(arrived)
    fetched(folder, address)
    assert (folder / "model.safetensors").read_bytes() == SHARD
    ranges = [asked.range for asked in served.asked if asked.path.startswith("/storage")]
    assert ranges == ([] if arrived == SHARD else [asked_for])


def test_the_command_ends_with_its_figures(hub: tuple[Served, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub[1])
    folder = bundle(tmp_path / "bundle")
    command = [sys.executable, "-c", "from alpamayo_ros.cli import main; main()", "fetch", str(folder)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    total = len(CONFIG) + len(SHARD)
    told = {"folder": str(folder), "files": 2, "bytes": total, "downloaded": total, "verified": 2}
    assert json.loads(done.stdout.splitlines()[-1]) == told
    assert "model.safetensors" in done.stderr, "progress"


# ------------------------------------------------------------------------------------------------------------------ refused


def test_a_file_with_another_digest_is_deleted_and_both_are_told(hub: tuple[Served, str], tmp_path: Path) -> None:
    folder = bundle(tmp_path / "bundle")
    (folder / "model.safetensors.part").write_bytes(b"from elsewhere")
    said = refusal(folder, hub[1])
    wrong = b"from elsewhere" + SHARD[14:]
    assert f"model.safetensors arrived, but its sha256 is {hashlib.sha256(wrong).hexdigest()}" in said
    assert f"source.yaml pins {hashlib.sha256(SHARD).hexdigest()}: it was deleted" in said
    assert not list(folder.glob("*.part"))
    fetched(folder, hub[1])
    assert (folder / "model.safetensors").read_bytes() == SHARD


@pytest.mark.parametrize(
    ("pinned", "words"),
    [
        ({"sha256": "0" * 64}, f"digest {hashlib.sha256(SHARD).hexdigest()} on the Hub, source.yaml pins {'0' * 64}"),
        ({"bytes": 7}, f"has {len(SHARD)} bytes on the Hub, source.yaml pins 7"),
    ],
)
def test_what_the_hub_offers_is_refused_before_it_is_downloaded(
    hub: tuple[Served, str], tmp_path: Path, pinned: dict[str, object], words: str
) -> None:
    served, address = hub
    assert words in refusal(bundle(tmp_path / "bundle", **pinned), address)
    assert not [asked for asked in served.asked if asked.path.startswith("/storage")]


def test_a_file_that_is_there_and_is_another_is_neither_kept_quietly_nor_deleted(
    hub: tuple[Served, str], tmp_path: Path
) -> None:
    folder = bundle(tmp_path / "bundle")
    (folder / "model.safetensors").write_bytes(b"mine")
    with pytest.raises(InvalidInput, match=r"model.safetensors is there, but has 4 bytes, source.yaml pins 1048576: delete it"):
        fetched(folder, hub[1])
    assert (folder / "model.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize(("status", "code"), [(401, "GatedRepo"), (403, "GatedRepo"), (401, "RepoNotFound"), (403, "")])
def test_a_gated_repository_says_what_to_accept_where_and_how_to_pass_a_token(
    hub: tuple[Served, str], tmp_path: Path, status: int, code: str
) -> None:
    hub[0].refusal = (status, code)
    said = refusal(bundle(tmp_path / "bundle"), hub[1])
    assert f"{REPOSITORY}: access refused (HTTP {status}). Sign in at https://huggingface.co/{REPOSITORY}, accept its" in said
    assert "`hf auth login`, or HF_TOKEN in the environment" in said
    assert "hf_secret" not in said


def test_a_commit_that_is_gone_or_another_is_refused(hub: tuple[Served, str], tmp_path: Path) -> None:
    served, address = hub
    served.commit = "f" * 40
    folder = bundle(tmp_path / "bundle")
    assert f"was asked for at commit {COMMIT}, the Hub answers with {'f' * 40}" in refusal(folder, address)
    served.refusal = (404, "RevisionNotFound")
    assert f"{REPOSITORY} has no commit {COMMIT} any more" in refusal(folder, address)


def test_other_answers_and_no_answer_say_so_and_that_nothing_is_lost(hub: tuple[Served, str], tmp_path: Path) -> None:
    folder = bundle(tmp_path / "bundle")
    hub[0].refusal = (404, "EntryNotFound")
    assert re.search(r"HTTP 404: .*config\.json.*run the same command again", refusal(folder, hub[1]), re.DOTALL)
    said = refusal(folder, "http://127.0.0.1:9")
    assert re.search(
        rf"{REPOSITORY}: 127\.0\.0\.1:9 cannot be reached: .*refused; what has arrived is kept: run the same command again",
        said,
    )


def test_a_full_disk_is_told_before_the_download(
    hub: tuple[Served, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundle(tmp_path / "bundle")
    (folder / "model.safetensors.part").write_bytes(SHARD[:1000])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 2, 7))  # type: ignore[attr-defined]
    said = refusal(folder, hub[1])
    assert f"{len(CONFIG) + len(SHARD) - 1000:,} bytes to download, 7 free; --out DIR puts them elsewhere" in said


def test_a_bundle_with_nothing_to_fetch_and_a_machine_without_the_library_are_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "bundle")
    program = (
        "import sys; from pathlib import Path; sys.modules['huggingface_hub'] = None\n"
        "from alpamayo_ros.bundle.folder import read_bundle; from alpamayo_ros.bundle.fetching import fetch\n"
        f"bundle = read_bundle(Path({str(folder)!r})); fetch(bundle, bundle.folder)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "InvalidInput: fetching needs huggingface_hub: pip install huggingface_hub" in done.stderr
    (folder / "source.yaml").write_text("seed: 0\n")
    assert "nothing to fetch" in refusal(folder, "http://127.0.0.1:9")
