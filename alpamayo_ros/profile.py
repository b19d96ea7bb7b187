"""Input profiles (what a model sees) and rigs (what a vehicle has), read from YAML and checked.

Unknown keys, roles and values are errors: nothing here has a default where a sensor should be.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from alpamayo_ros.types import InvalidInput, role_index

Values = TypeVar("Values", bound="Described")
Topic = Annotated[str, Field(pattern=r"^/[A-Za-z][A-Za-z0-9_/]*$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=64)]


MAX_YAML_BYTES = 1_000_000
"""A rig with every comment there is has some ten thousand."""


class Described(BaseModel):
    """Values from a YAML file: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Pruning(Described):
    """Fractions of the visual tokens that stay, 1 for all: of each image's before the prompt is read, and of those that were
    read when the model writes."""

    prefill_keep: Annotated[float, Field(gt=0, le=1)]
    decode_keep: Annotated[float, Field(gt=0, le=1)]


class InputProfile(Described):
    """What a model expects to see; data that belongs to a bundle, never constants in code."""

    name: Name
    cameras: dict[str, Literal["required", "optional"]]  # by role
    frame_offsets_ms: tuple[int, ...]  # relative to t0, oldest first, last one 0
    image_height: Annotated[int, Field(ge=16, le=4096)]  # pixels after resizing
    image_width: Annotated[int, Field(ge=16, le=4096)]
    views: Literal["single_image", "flex", "triplane"]
    scene_tokens: Annotated[int, Field(ge=1)]  # visual tokens of a prompt with every camera, before pruning
    pruning: Pruning
    history_steps: Annotated[int, Field(ge=2, le=200)]  # poses at 10 Hz, last one t0
    horizon_steps: Literal[64]
    # At the instants of the ego history. Speed is the odometry's twist: it has been checked against how the poses move.
    # The others come in EgoSignals messages, and without messages that cover the history there is no observation.
    ego_signals: tuple[Literal["speed", "acceleration", "steering_angle", "turn_indicator"], ...]
    navigation: Literal["none", "text"]
    meta_actions: bool

    @field_validator("cameras")
    @classmethod
    def _roles_exist(cls, cameras: dict[str, str]) -> dict[str, str]:
        ordered = sorted(cameras, key=role_index)
        if "required" not in cameras.values():
            raise InvalidInput("cameras: at least one role must be required")
        return {role: cameras[role] for role in ordered}

    @field_validator("frame_offsets_ms")
    @classmethod
    def _offsets_end_at_t0(cls, offsets: tuple[int, ...]) -> tuple[int, ...]:
        if not offsets or offsets[-1] != 0 or list(offsets) != sorted(set(offsets)):
            raise InvalidInput(f"frame_offsets_ms: want increasing offsets that end at 0, got {list(offsets)}")
        return offsets

    @field_validator("ego_signals")
    @classmethod
    def _signals_once(cls, signals: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(signals)) != len(signals):
            raise InvalidInput(f"ego_signals: want each at most once, got {list(signals)}")
        return signals

    @model_validator(mode="after")
    def _images_to_prune(self) -> InputProfile:
        if self.pruning.prefill_keep < 1 and self.views != "single_image":
            raise InvalidInput(f"pruning: prefill_keep {self.pruning.prefill_keep} is for single_image, views are {self.views}")
        return self

    @property
    def required_roles(self) -> tuple[str, ...]:
        """Roles without which there is no observation, in index order."""
        return tuple(role for role, need in self.cameras.items() if need == "required")

    @property
    def offsets_ns(self) -> tuple[int, ...]:
        """Frame offsets in ns, oldest first."""
        return tuple(ms * 1_000_000 for ms in self.frame_offsets_ms)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, 3) of every frame an engine sees."""
        return (self.image_height, self.image_width, 3)


class Mount(Described):
    """Nominal place and view of a camera: for simulation, and for checking tf_static and CameraInfo against."""

    xyz_m: tuple[float, float, float]  # base frame
    yaw_deg: Annotated[float, Field(ge=-180, le=180)]  # of the optical axis, positive left
    pitch_deg: Annotated[float, Field(ge=-89, le=89)]  # positive looks down
    hfov_deg: Annotated[float, Field(gt=0, le=220)]


class RigCamera(Described):
    """One camera of a vehicle."""

    topic: Topic
    info_topic: Topic
    transport: Literal["compressed", "raw"]
    width: Annotated[int, Field(ge=16, le=8192)]  # pixels as published
    height: Annotated[int, Field(ge=16, le=8192)]
    rate_hz: Annotated[float, Field(gt=0, le=120)]
    stamp_offset_ms: Annotated[float, Field(ge=-1000, le=1000)]  # added to the message stamp
    frame_id: str
    mount: Mount

    @property
    def period_ns(self) -> int:
        """Declared time between two frames, ns."""
        return round(1e9 / self.rate_hz)

    @property
    def tolerance_ns(self) -> int:
        """How far a frame may be from the instant asked for: half a period + 5 ms."""
        return self.period_ns // 2 + 5_000_000


class Odometry(Described):
    """Where the ego pose comes from."""

    topic: Topic
    frame: str
    rate_hz: Annotated[float, Field(gt=0, le=1000)]


class Rig(Described):
    """A vehicle's cameras and odometry."""

    name: Name
    base_frame: str
    odometry: Odometry
    anchor: str  # the role whose stamps are t0
    cameras: dict[str, RigCamera]  # by role, in index order

    @field_validator("cameras")
    @classmethod
    def _roles_exist(cls, cameras: dict[str, RigCamera]) -> dict[str, RigCamera]:
        return {role: cameras[role] for role in sorted(cameras, key=role_index)}

    @model_validator(mode="after")
    def _names_fit(self) -> Rig:
        if self.anchor not in self.cameras:
            raise InvalidInput(f"anchor {self.anchor!r} is not among the cameras {', '.join(self.cameras)}")
        topics = [camera.topic for camera in self.cameras.values()]
        if len(set(topics)) != len(topics):
            raise InvalidInput(f"two roles share a topic: {sorted(t for t in topics if topics.count(t) > 1)}")
        return self

    def check_covers(self, profile: InputProfile) -> None:
        """Raise InvalidInput when the rig lacks a camera the profile requires, or the profile does not use its anchor."""
        missing = [role for role in profile.required_roles if role not in self.cameras]
        if missing:
            raise InvalidInput(f"rig {self.name} has no {', '.join(missing)}, which profile {profile.name} requires")
        if self.anchor not in profile.required_roles:
            raise InvalidInput(f"rig {self.name}: anchor {self.anchor} is not required by profile {profile.name}")


def shared_files() -> Path:
    """The folder with config/, models/, msg/ and launch/: the checkout, or share/alpamayo_ros where installed."""
    for parent in Path(__file__).resolve().parents:
        for folder in (parent, parent / "share" / "alpamayo_ros"):
            if (folder / "package.xml").is_file() and (folder / "config").is_dir():
                return folder
    raise FileNotFoundError(f"no share/alpamayo_ros beside {__file__}: is the package installed?")


def read_described(model: type[Values], path: Path) -> Values:
    """Read a YAML file of one kind. Raises InvalidInput that names the file and each key that is wrong.

    Aliases are refused: nine lines of them may stand for a billion values.
    """
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file")
    if (size := path.stat().st_size) > MAX_YAML_BYTES:
        raise InvalidInput(f"{path}: {size} bytes, limit {MAX_YAML_BYTES}")
    try:
        text = path.read_text(encoding="utf-8")
        if alias := next((token for token in yaml.scan(text) if isinstance(token, yaml.AliasToken)), None):
            raise InvalidInput(f"{path}: alias *{alias.value} in line {alias.start_mark.line + 1}: write the values out")
        return model.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise InvalidInput(f"{path}: {'; '.join(map(_problem, error.errors()))}") from error


def _problem(error: ErrorDetails) -> str:
    """What is wrong with which key, and what was found there where that is one value."""
    key, found = ".".join(map(str, error["loc"])) or "file", error["input"]
    if error["type"] == "value_error":
        return f"{key}: {error['ctx']['error']}"  # our own words, with what was found
    return f"{key}: {error['msg']}" + ("" if isinstance(found, dict) else f", got {found!r:.80}")


def read_profile(name_or_path: str) -> InputProfile:
    """Read a profile from a file, or by name: of config/profiles, or of the bundle it belongs to. Raises InvalidInput."""
    shipped = {path.stem: path for path in (shared_files() / "config" / "profiles").glob("*.yaml")}
    bundled = {path.parent.name: path for path in (shared_files() / "models").glob("*/profile.yaml")}
    return read_described(InputProfile, _find(name_or_path, "profile", bundled | shipped))


def read_rig(name_or_path: str) -> Rig:
    """Read a rig from a file, or by name from config/rigs. Raises InvalidInput."""
    shipped = {path.stem: path for path in (shared_files() / "config" / "rigs").glob("*.yaml")}
    return read_described(Rig, _find(name_or_path, "rig", shipped))


def _find(name_or_path: str, kind: str, shipped: Mapping[str, Path]) -> Path:
    if name_or_path.endswith((".yaml", ".yml")):
        return Path(name_or_path)
    if name_or_path not in shipped:
        raise InvalidInput(f"no {kind} {name_or_path!r}: want a .yaml file or one of {', '.join(sorted(shipped))}")
    return shipped[name_or_path]
