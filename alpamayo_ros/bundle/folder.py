"""What a model bundle is: one folder with everything about one model, and the only thing a node is pointed at.

`profile.yaml`      what the model sees
`config.json`       what the network is; `backbone.json` beside it where it does not hold the backbone's own config
`tokenizer.json`    words
`model.safetensors`, or shards named by `model.safetensors.index.json`: the weights
`source.yaml`       where files come from that are not here: repositories to download, or a seed to draw the weights from
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, model_validator

from alpamayo_ros.bundle.provenance import Weights
from alpamayo_ros.profile import Described, InputProfile, read_described
from alpamayo_ros.types import InvalidInput

MODEL_TYPES: dict[str, Literal["r1", "1.5"]] = {"alpamayo_r1": "r1", "alpamayo1_5": "1.5", "alpamayo_ros": "r1"}
"""model_type of config.json -> whose names the special tokens have; 1.5 calls those that it does not use padding."""

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
WEIGHTS_KEY = "weights"
"""Key of a weights file's metadata under which our own files say what they are: untrained or trained."""

BACKBONE_KEY, EXPERT_KEY = "backbone_sha256", "expert_trained_on"
"""What such a file says besides: which backbone it holds, and which one its expert learned to read."""

_MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit


class RemoteFile(Described):
    """One file of a repository, and the bytes it must have."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]  # in the bundle
    path: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./\-]*$")] | None = None  # in the repository, if not `name`
    bytes: Annotated[int, Field(ge=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    git_sha1: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None  # of the git blob

    @model_validator(mode="after")
    def _has_one_digest(self) -> RemoteFile:
        if (self.sha256 is None) == (self.git_sha1 is None):
            raise InvalidInput(f"{self.name}: want one of sha256 and git_sha1")
        return self


class Repository(Described):
    """Files of one commit of one repository on the Hugging Face Hub."""

    repository: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]  # a commit: branches and tags move
    files: Annotated[tuple[RemoteFile, ...], Field(min_length=1)]


class Source(Described):
    """Where files come from that are not in the bundle: either repositories, or a seed for the weights."""

    repositories: tuple[Repository, ...] = ()
    seed: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Source:
        if bool(self.repositories) == (self.seed is not None):
            raise InvalidInput("want either repositories or a seed")
        names = [file.name for repository in self.repositories for file in repository.files]
        if len(set(names)) != len(names):
            raise InvalidInput(f"two files of one name: {sorted({n for n in names if names.count(n) > 1})}")
        return self


@dataclass(frozen=True)
class Bundle:
    """What lies in a bundle's folder, as far as it can be told without opening the model."""

    folder: Path
    profile: InputProfile
    source: Source | None
    weights: Weights  # "none" as long as they are not there and nothing says what they will be
    present: tuple[str, ...]  # of the files it needs
    missing: tuple[str, ...]

    @property
    def fetch_command(self) -> str | None:
        """The command that brings what is missing, if there is one."""
        can_fetch = self.source is not None and self.source.repositories
        return f"alpamayo fetch {self.folder}" if self.missing and can_fetch else None

    def require_complete(self) -> None:
        """Raise InvalidInput that names the missing files, and the command that brings them."""
        if self.missing:
            remedy = f"; run: {self.fetch_command}" if self.fetch_command else ""
            raise InvalidInput(f"{self.folder} lacks {', '.join(self.missing)}{remedy}")


def read_bundle(folder: Path) -> Bundle:
    """Look at a bundle's folder: files may be missing, but what is there must be readable. Raises InvalidInput."""
    if not folder.is_dir():
        raise InvalidInput(f"{folder}: no such bundle folder")
    profile = read_described(InputProfile, folder / "profile.yaml")
    source = read_described(Source, folder / "source.yaml") if (folder / "source.yaml").is_file() else None
    weights = _needed_weights(folder, source)
    needed = ["config.json", "tokenizer.json", *_needed_backbone(folder), *weights]
    if source is not None:
        needed += [file.name for repository in source.repositories for file in repository.files]
    present = tuple(name for name in dict.fromkeys(needed) if (folder / name).is_file())
    missing = tuple(name for name in dict.fromkeys(needed) if name not in present)
    return Bundle(folder, profile, source, _weights(folder, source, weights), present, missing)


def read_index(folder: Path) -> dict[str, str]:
    """Shard of every tensor, from a folder's index. Raises InvalidInput."""
    path = folder / INDEX_FILE
    shards = read_json(path).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise InvalidInput(f"{path}: want a weight_map from tensors to files")
    outside = sorted({shard for shard in shards.values() if Path(shard).name != shard or not shard.endswith(".safetensors")})
    if outside:
        raise InvalidInput(f"{path}: want .safetensors files in the same folder, got {', '.join(outside[:3])}")
    return shards


def read_header(path: Path) -> dict[str, Any]:
    """Header of a safetensors file, without its tensors: `__metadata__`, and dtype, shape and place of each tensor.

    Raises InvalidInput, also for a file that is shorter or longer than its header says.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        text = file.read(size) if size <= _MAX_HEADER_BYTES else b""
    if not text or len(text) < size:
        raise InvalidInput(f"{path}: not a safetensors file: {path.stat().st_size} bytes, header of {size}")
    header, held = _json_object(text, path), path.stat().st_size
    try:
        described = 8 + size + max((of["data_offsets"][1] for name, of in header.items() if name != "__metadata__"), default=0)
    except (KeyError, IndexError, TypeError) as error:
        raise InvalidInput(f"{path}: want data_offsets of every tensor, got {error!r}") from error
    if held != described:
        raise InvalidInput(f"{path}: {held} bytes where its header describes {described}: bring the whole file")
    return header


def has_weights(folder: Path) -> bool:
    """Whether there are any, in one file or in shards."""
    return any((folder / name).is_file() for name in (WEIGHTS_FILE, INDEX_FILE))


def read_metadata(path: Path) -> dict[str, Any]:
    """What a safetensors file says of itself, nothing where it says nothing. Raises InvalidInput."""
    metadata = read_header(path).get("__metadata__", {})
    if not isinstance(metadata, dict):
        raise InvalidInput(f"{path}: want texts by name in __metadata__, got {metadata!r}")
    return metadata


def read_stored(folder: Path) -> dict[str, Any]:
    """A folder's config.json, if it is of a kind of model that runs here. Raises InvalidInput."""
    stored = read_json(folder / "config.json")
    known_model_type(stored, str(folder / "config.json"))
    return stored


def known_model_type(stored: Mapping[str, Any], where: str) -> str:
    """The model_type of a config.json, one of MODEL_TYPES. Raises InvalidInput."""
    found = stored.get("model_type")
    if not isinstance(found, str) or found not in MODEL_TYPES:
        raise InvalidInput(f"{where}: model_type {found!r}, want one of {', '.join(MODEL_TYPES)}")
    return found


def read_special_tokens(folder: Path) -> tuple[str, ...]:
    """The texts that a bundle's tokenizer.json takes for more than their letters. The engine adds its own when it opens.

    Raises InvalidInput.
    """
    path = folder / "tokenizer.json"
    added = read_json(path).get("added_tokens", [])
    entries = added if isinstance(added, list) else [added]
    tokens = tuple(entry["content"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("content"), str))
    if len(tokens) != len(entries):
        raise InvalidInput(f"{path}: want added_tokens with a content each, got {str(added)[:80]}")
    return tokens


def read_json(path: Path) -> dict[str, Any]:
    """A file with one JSON object. Raises InvalidInput."""
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file")
    return _json_object(path.read_bytes(), path)


def _json_object(text: bytes, path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: not JSON: {error}") from error
    if not isinstance(loaded, dict):
        raise InvalidInput(f"{path}: want a JSON object, got {type(loaded).__name__}")
    return loaded


def _needed_backbone(folder: Path) -> list[str]:
    return ["backbone.json"] if (folder / "config.json").is_file() and "vlm_config" not in read_stored(folder) else []


def _needed_weights(folder: Path, source: Source | None) -> list[str]:
    """Weight files by what is there; without an index, one file, unless a source stands in for it."""
    if (folder / INDEX_FILE).is_file():
        return [INDEX_FILE, *sorted(set(read_index(folder).values()))]
    if (folder / WEIGHTS_FILE).is_file():
        return [WEIGHTS_FILE]
    if source is not None:
        return []
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles:
        refused = f"{', '.join(pickles[:3])} refused: opening a pickle runs code of its author"
        raise InvalidInput(f"{folder}: {refused}; want {WEIGHTS_FILE}, or shards with {INDEX_FILE}")
    return [WEIGHTS_FILE]


def check_expert(metadata: Mapping[str, Any], where: str) -> None:
    """Raise InvalidInput for an expert that was trained on the keys and values of another backbone: it would read nonsense.

    Files that say nothing of it, as released ones, pass.
    """
    backbone, expert = metadata.get(BACKBONE_KEY), metadata.get(EXPERT_KEY)
    if backbone != expert:
        raise InvalidInput(
            f"{where}: the expert was trained on backbone {expert}, this file holds {backbone}: train it again on this one"
        )


def _weights(folder: Path, source: Source | None, files: list[str]) -> Weights:
    """What the weights are: by the source, or by every file's own word, which cannot be "released"."""
    if source is not None and source.repositories:
        return "released"
    if source is not None and files:
        raise InvalidInput(f"{folder} has {files[0]} and source.yaml with a seed: which weights are meant?")
    if source is not None:
        return "untrained"
    there = [name for name in files if name != INDEX_FILE and (folder / name).is_file()]
    metadata = {name: read_metadata(folder / name) for name in there}
    for name, stored in metadata.items():
        check_expert(stored, str(folder / name))
    said = {name: stored.get(WEIGHTS_KEY) for name, stored in metadata.items()}
    for name, word in said.items():
        if word not in ("untrained", "trained"):
            how = f'write it with safetensors\' save_file(tensors, path, {{"{WEIGHTS_KEY}": "trained"}})'
            raise InvalidInput(f"{folder / name}: metadata says weights {word!r}, want untrained or trained; {how}")
        if word != said[there[0]]:
            raise InvalidInput(f"{folder}: weights are {said[there[0]]} in {there[0]}, {word} in {name}")
    return cast(Weights, said[there[0]]) if there else "none"
