"""Bring a bundle's files from the Hugging Face Hub: pinned commits, every byte verified, resumed where it was cut."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich import progress
from rich.console import Console

from alpamayo_ros.bundle.folder import Bundle, RemoteFile, Repository
from alpamayo_ros.types import InvalidInput


@dataclass(frozen=True)
class Fetched:
    """What a fetch did."""

    folder: str
    files: int
    bytes: int  # of all files
    downloaded: int  # bytes of the files that were not there
    verified: int  # files whose digest was computed here and is the pinned one


def fetch(bundle: Bundle, out: Path, endpoint: str | None = None) -> Fetched:
    """Download what a bundle's source.yaml pins into the folder `out`, and verify all of it, also what was there already.

    A fetch that was cut off goes on where it stopped. `endpoint`: another Hub than huggingface.co or HF_ENDPOINT.
    Raises InvalidInput: nothing to fetch, access refused, no network, no space, or files that are not the pinned ones.
    """
    repositories = bundle.source.repositories if bundle.source else ()
    if not repositories:
        raise InvalidInput(f"{bundle.folder} has no source.yaml with repositories: there is nothing to fetch")
    _make_folder(bundle, out)
    pinned = [(repository, file) for repository in repositories for file in repository.files]
    wanted = [(repository, file) for repository, file in pinned if not _is_there(out / file.name, file)]
    _check_space(out, [file for _, file in wanted])
    for repository, file in wanted:
        with _in_clear_words(repository):
            _download(repository, file, out, endpoint)
    total, downloaded = (sum(file.bytes for _, file in files) for files in (pinned, wanted))
    return Fetched(str(out), len(pinned), total, downloaded, verified=len(pinned))


def _make_folder(bundle: Bundle, out: Path) -> None:
    """Another folder than the bundle's gets its small files, and becomes a bundle itself."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if out.resolve() != bundle.folder.resolve():
            for name in ("profile.yaml", "source.yaml"):
                shutil.copyfile(bundle.folder / name, out / name)
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written: {error}") from error


def _is_there(path: Path, file: RemoteFile) -> bool:
    difference = _difference(path, file) if path.is_file() else None
    if difference is not None:
        raise InvalidInput(f"{path} is there, but {difference}: delete it to fetch it again")
    return path.is_file()


def _check_space(out: Path, files: list[RemoteFile]) -> None:
    arrived = sum(part.stat().st_size for part in (_part(out, file) for file in files) if part.is_file())
    missing, free = sum(file.bytes for file in files) - arrived, shutil.disk_usage(out).free
    if missing > free:
        raise InvalidInput(f"{out}: {missing:,} bytes to download, {free:,} free; --out DIR puts them elsewhere")


def _download(repository: Repository, file: RemoteFile, out: Path, endpoint: str | None) -> None:
    """Append what is missing to a .part file, which gets the file's name only once it is the pinned file."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, but not re-exported

    url = hf_hub_url(repository.repository, file.path or file.name, revision=repository.revision, endpoint=endpoint)
    offered = get_hf_file_metadata(url, endpoint=endpoint, retry_on_errors=True)
    _check_offer(repository, file, offered.commit_hash, offered.size, offered.etag)
    part = _part(out, file)
    # Not hf_hub_download: interrupted, it deletes what has arrived of a file, and a shard has 5 GB.
    headers = build_hf_headers(library_name="alpamayo_ros") | {"Accept-Encoding": "identity"}
    with part.open("ab") as stream:
        if stream.tell() > file.bytes:
            stream.truncate(0)
        at = stream.seek(0, os.SEEK_END)
        http_get(url, stream, resume_size=at, headers=headers, expected_size=file.bytes, displayed_filename=file.name)
    difference = _difference(part, file)
    if difference is not None:
        part.unlink()
        raise InvalidInput(f"{repository.repository}: {file.name} arrived, but {difference}: it was deleted")
    part.replace(out / file.name)


def _check_offer(repository: Repository, file: RemoteFile, commit: str | None, size: int | None, etag: str | None) -> None:
    """Refuse before downloading what cannot be the pinned file. A Hub's etag is a file's sha256, or its git SHA-1."""
    name = f"{repository.repository}: {file.path or file.name}"
    pinned = file.sha256 or file.git_sha1 or ""
    if commit != repository.revision:
        raise InvalidInput(f"{name} was asked for at commit {repository.revision}, the Hub answers with {commit}")
    if size is not None and size != file.bytes:
        raise InvalidInput(f"{name} has {size} bytes on the Hub, source.yaml pins {file.bytes}")
    if etag is not None and len(etag) == len(pinned) and etag != pinned:
        raise InvalidInput(f"{name} has digest {etag} on the Hub, source.yaml pins {pinned}")


def _part(out: Path, file: RemoteFile) -> Path:
    return out / f"{file.name}.part"


def _difference(path: Path, file: RemoteFile) -> str | None:
    """In what a file is not the pinned one; None when it is."""
    size, pinned = path.stat().st_size, file.sha256 or file.git_sha1
    if size != file.bytes:
        return f"has {size} bytes, source.yaml pins {file.bytes}"
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with progress.open(path, "rb", description=f"verify {file.name}", console=Console(stderr=True)) as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return None if digest.hexdigest() == pinned else f"its {digest.name} is {digest.hexdigest()}, source.yaml pins {pinned}"


@contextmanager
def _in_clear_words(repository: Repository) -> Iterator[None]:
    """What can go wrong with a Hub, as InvalidInput that says what to do about it."""
    try:
        from httpx2 import ConnectError, ConnectTimeout, HTTPError
        from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError
    except ModuleNotFoundError as error:
        raise InvalidInput(f"fetching needs huggingface_hub: pip install huggingface_hub ({error})") from error
    name, again = repository.repository, "what has arrived is kept: run the same command again to go on"
    try:
        yield
    except RevisionNotFoundError as error:
        raise InvalidInput(f"{name} has no commit {repository.revision} any more: the pinned files are gone") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status not in (401, 403):
            raise InvalidInput(f"{name}: HTTP {status}: {' '.join(str(error).split())}; {again}") from error
        raise InvalidInput(
            f"{name}: access refused (HTTP {status}). Sign in at https://huggingface.co/{name}, accept its conditions, and "
            "pass a token of your account: `hf auth login`, or HF_TOKEN in the environment"
        ) from error
    except (ConnectError, ConnectTimeout) as error:
        raise InvalidInput(f"{name}: {error.request.url.netloc.decode()} cannot be reached: {error}; {again}") from error
    except (HTTPError, OSError) as error:
        raise InvalidInput(f"{name}: {error or type(error).__name__}; {again}") from error
