"""Which model a bundle is, in 16 characters: for status messages, reports and built engines."""

from __future__ import annotations

import hashlib
from pathlib import Path

from alpamayo_ros.bundle.folder import INDEX_FILE, WEIGHTS_FILE, Source, read_bundle, read_index
from alpamayo_ros.profile import read_described
from alpamayo_ros.types import InvalidInput

DESCRIBED_BY = ("profile.yaml", "config.json", "backbone.json", "tokenizer.json", "source.yaml", INDEX_FILE)
_SAMPLES, _SAMPLE_BYTES = 64, 4096


def bundle_hash(folder: Path) -> str:
    """16 hexadecimal digits that change when a bundle's files do. Takes milliseconds, however large the weights are.

    Weights that source.yaml pins or draws from a seed count by what it says of them, others by their size and 64 samples of
    4 kB: enough to tell two models apart, no proof against somebody who forges one. Raises InvalidInput as `read_bundle`.
    """
    read_bundle(folder)
    digest = hashlib.sha256()
    for name in (*DESCRIBED_BY, *_own_weights(folder)):
        path = folder / name
        if path.is_file():
            content = path.read_bytes() if name in DESCRIBED_BY else _sampled(path)
            digest.update(f"{name} {path.stat().st_size} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _own_weights(folder: Path) -> list[str]:
    """Files of weights whose bytes source.yaml does not pin."""
    if (folder / "source.yaml").is_file() and read_described(Source, folder / "source.yaml").repositories:
        return []
    return sorted(set(read_index(folder).values())) if (folder / INDEX_FILE).is_file() else [WEIGHTS_FILE]


def _sampled(path: Path) -> bytes:
    """The start of a file, which is its header, and samples spread over all of it. Raises InvalidInput."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            samples = [file.read(1 << 20)]
            for i in range(1, _SAMPLES + 1):
                file.seek(max(size - _SAMPLE_BYTES, 0) * i // _SAMPLES)
                samples.append(file.read(_SAMPLE_BYTES))
    except OSError as error:
        raise InvalidInput(f"{path}: {error}") from error
    return b"".join(samples)
