"""The values that cross modules: frozen, shape- and dtype-checked where they are born, arrays read-only.

Frames: "ego_t0" is the vehicle frame at the observation's time (x forward, y left, z up, origin at the rear axle on the
ground, REP-103). Times: integer nanoseconds of the message clock (`*_ns`); durations are float ms or s, named so.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

ROLES = ("front_left", "front_wide", "front_right", "rear_left", "rear_tele", "rear_right", "front_tele")
"""Camera roles in the order of the released models: cross_left 120°, front_wide 120°, cross_right 120°, rear_left 70°,
rear_tele 30°, rear_right 70°, front_tele 30°. A role's index is its place here."""

HORIZON = 64  # points of a model's trajectory (Alpamayo-R1 paper, equation 2): 6.4 s at 10 Hz
STEP_S = 0.1  # between two points of a trajectory, and between two poses of an ego history


class InvalidInput(ValueError):
    """A message, file, parameter or value was refused; the text says what was expected and what came."""


class StaleInput(RuntimeError):
    """No observation can be made for this t0; the text names what is missing, by how much, and the limit."""


class EngineFailure(RuntimeError):
    """The engine died, hung, ran past its deadline or answered with something that cannot be an answer."""


def role_index(role: str) -> int:
    """The released models' index of a camera role. Raises InvalidInput for a role that does not exist."""
    if role not in ROLES:
        raise InvalidInput(f"unknown camera role {role!r}, want one of {', '.join(ROLES)}")
    return ROLES.index(role)


def checked(name: str, value: NDArray[Any], dtype: type, *shape: int | str) -> NDArray[Any]:
    """Return `value` as a read-only view after checking its dtype and shape.

    A string in `shape` is a free size; equal strings must be equal sizes. Floats must be finite.
    Raises InvalidInput: "xyz: want float32(16, 3), got float64(16, 3)".
    """
    sizes: dict[str, int] = {}
    wanted = ", ".join(str(s) for s in shape)
    fits = isinstance(value, np.ndarray) and value.dtype == dtype and value.ndim == len(shape)
    if fits:
        fits = all(n == (sizes.setdefault(s, n) if isinstance(s, str) else s) for s, n in zip(shape, value.shape, strict=True))
    if not fits:
        got = f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise InvalidInput(f"{name}: want {np.dtype(dtype)}({wanted}), got {got}")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise InvalidInput(f"{name}: {np.count_nonzero(~np.isfinite(value))} of {value.size} numbers are not finite")
    view = value.view()
    view.flags.writeable = False
    return view


def _freeze(instance: object, **arrays: NDArray[Any]) -> None:
    for name, array in arrays.items():
        object.__setattr__(instance, name, array)


@dataclass(frozen=True)
class EncodedFrame:
    """A camera message whose header was checked and whose pixels were not touched yet."""

    role: str
    stamp_ns: int  # exposure time: message stamp + the rig's stamp offset
    epoch: int
    encoding: str  # "jpeg", "png", or a sensor_msgs image encoding
    height: int
    width: int
    step: int  # bytes per row of a raw image, 0 when compressed
    data: bytes | memoryview


@dataclass(frozen=True)
class CameraFrame:
    """One frame as an engine sees it: RGB at the profile's size, decoded once ever."""

    role: str
    stamp_ns: int
    epoch: int
    image: U8  # (H, W, 3) RGB; may be a view of shared memory that lives as long as this object
    slot: int | None = None  # place in the shared frame ring, None when the pixels are private

    def __post_init__(self) -> None:
        role_index(self.role)
        _freeze(self, image=checked("image", self.image, np.uint8, "H", "W", 3))

    @cached_property
    def crc32(self) -> int:
        """CRC-32 of the pixels, computed once."""
        return zlib.crc32(np.ascontiguousarray(self.image).data)

    @cached_property
    def contrast(self) -> float:
        """Standard deviation, levels of 255, of the colour that varies most over every 8th pixel, computed once."""
        return float(self.image[::8, ::8].std(axis=(0, 1)).max())


@dataclass(frozen=True)
class EgoPose:
    """The vehicle in the odometry frame at one instant, with its twist."""

    stamp_ns: int
    position: F64  # (3,) m, odom frame
    odom_from_ego: F64  # (3, 3) rotation
    velocity_mps: F64  # (3,) m/s, ego frame
    angular_rps: F64  # (3,) rad/s, ego frame

    def __post_init__(self) -> None:
        for name in ("position", "velocity_mps", "angular_rps"):
            _freeze(self, **{name: checked(name, getattr(self, name), np.float64, 3)})
        _freeze(self, odom_from_ego=checked("odom_from_ego", self.odom_from_ego, np.float64, 3, 3))

    @property
    def speed_mps(self) -> float:
        """Forward speed, m/s; negative in reverse."""
        return float(self.velocity_mps[0])


@dataclass(frozen=True)
class EgoHistory:
    """Poses at exact steps of 0.1 s that end at t0, in ego_t0."""

    t0_ns: int
    xyz: F32  # (N, 3) m, ego_t0; the last row is zero
    rot: F32  # (N, 3, 3) ego_t0 from ego at that time; the last one is the identity

    def __post_init__(self) -> None:
        _freeze(self, xyz=checked("xyz", self.xyz, np.float32, "N", 3), rot=checked("rot", self.rot, np.float32, "N", 3, 3))
        if len(self.xyz) != len(self.rot) or len(self.xyz) < 2:
            raise InvalidInput(f"ego history: want the same N >= 2 poses, got xyz {len(self.xyz)} and rot {len(self.rot)}")
        if np.abs(self.xyz[-1]).max() > 1e-4 or np.abs(self.rot[-1] - np.eye(3)).max() > 1e-4:
            raise InvalidInput(f"ego history: the last pose must be ego_t0 itself, got xyz {self.xyz[-1]}")


Maneuver = Literal["continue", "turn_left", "turn_right", "keep_left", "keep_right", "u_turn", "pull_over"]


@dataclass(frozen=True)
class Navigation:
    """A latched navigation command. The prompt text is rendered from its fields, but for `text`, where that is enabled."""

    maneuver: Maneuver
    distance_m: float
    road_name: str
    expires_ns: int
    text: str = ""  # a route in free words, checked (see decode.navigation_text), in place of the other fields


TurnIndicator = Literal["off", "left", "right", "hazard"]


@dataclass(frozen=True)
class SignalSample:
    """What one ego signals message measured."""

    stamp_ns: int
    steering_angle_rad: float  # front wheels, positive turns left
    turn_indicator: TurnIndicator
    acceleration_mps2: float  # along ego x


@dataclass(frozen=True)
class EgoSignals:
    """The signals that a profile declares, at the instants of the ego history; None: this one is not declared."""

    speed_mps: F32 | None  # (N,) along ego x, negative in reverse
    acceleration_mps2: F32 | None  # (N,) along ego x
    steering_angle_rad: F32 | None  # (N,) front wheels, positive turns left
    turn_indicator: tuple[TurnIndicator, ...] | None  # N

    def __post_init__(self) -> None:
        for name in ("speed_mps", "acceleration_mps2", "steering_angle_rad"):
            if getattr(self, name) is not None:
                _freeze(self, **{name: checked(name, getattr(self, name), np.float32, "N")})
        if unknown := set(self.turn_indicator or ()) - set(get_args(TurnIndicator)):
            raise InvalidInput(f"turn_indicator: want any of {', '.join(get_args(TurnIndicator))}, got {sorted(unknown)}")
        sizes = {name: len(value) for name, value in vars(self).items() if value is not None}
        if len(set(sizes.values())) != 1:
            raise InvalidInput(f"ego signals: want one or more, of the same N instants, got {sizes}")

    @property
    def steps(self) -> int:
        """N."""
        return next(len(value) for value in vars(self).values() if value is not None)


@dataclass(frozen=True)
class Observation:
    """Everything a plan depends on besides the request."""

    stamp_ns: int  # t0: stamp of the anchor camera's frame
    epoch: int
    frames: Mapping[str, tuple[CameraFrame, ...]]  # role -> oldest to newest, one per frame offset of the profile
    history: EgoHistory
    ego_t0: EgoPose  # interpolated at t0
    navigation: Navigation | None = None
    signals: EgoSignals | None = None
    sync_error_ms: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # same layout as frames, signed
    odometry_extrapolated_ms: float = 0.0

    def __post_init__(self) -> None:
        if self.history.t0_ns != self.stamp_ns or self.ego_t0.stamp_ns != self.stamp_ns:
            raise InvalidInput(f"t0 {self.stamp_ns}: history at {self.history.t0_ns}, ego pose at {self.ego_t0.stamp_ns}")
        if self.signals is not None and self.signals.steps != len(self.history.xyz):
            raise InvalidInput(f"ego signals at {self.signals.steps} instants, ego history at {len(self.history.xyz)}")
        for role, frames in self.frames.items():
            if any(f.role != role or f.epoch != self.epoch for f in frames):
                raise InvalidInput(f"{role}: frames of {[(f.role, f.epoch) for f in frames]} in epoch {self.epoch}")
        _freeze_mapping(self, "frames")
        _freeze_mapping(self, "sync_error_ms")

    @property
    def speed_mps(self) -> float:
        """Forward speed at t0, m/s."""
        return self.ego_t0.speed_mps

    @property
    def pixels_crc32(self) -> int:
        """CRC-32 over the CRC-32 (4 bytes, little-endian) of every frame: roles by index, frames oldest first."""
        crcs = [frame.crc32 for role in sorted(self.frames, key=role_index) for frame in self.frames[role]]
        return zlib.crc32(np.array(crcs, "<u4").tobytes())


def _freeze_mapping(instance: object, name: str) -> None:
    object.__setattr__(instance, name, MappingProxyType(dict(getattr(instance, name))))


@dataclass(frozen=True)
class Request:
    """How to think about an observation. The same observation and request give the same output."""

    samples: int = 1
    reasoning: Literal["none", "full"] = "full"
    greedy: bool = True
    temperature: float = 0.6
    top_p: float = 0.98
    steps: int = 0  # Euler steps of the flow; 0: as many as the model's own config says
    guidance: float = 0.0  # weight of classifier-free navigation guidance, 0 is off
    seed: int = 0
    max_tokens: int = 256  # of reasoning; what is longer is incomplete
    share_reasoning: bool = False  # one text for all samples, or one each; greedy texts are all the same
    trajectory: Literal["flow", "tokens"] = "flow"  # by the action expert, or written by the language model as tokens

    def __post_init__(self) -> None:
        counted = 1 <= self.samples <= 64 and 0 <= self.steps <= 100 and 1 <= self.max_tokens <= 4096 and 0 <= self.seed < 2**63
        if not (counted and 0 < self.temperature < np.inf and 0 < self.top_p <= 1 and 0 <= self.guidance <= 10):
            limits = "samples 1..64, steps 0..100, max_tokens 1..4096, seed, temperature > 0, 0 < top_p <= 1, guidance 0..10"
            raise InvalidInput(f"request out of range ({limits}): {self}")


@dataclass(frozen=True)
class ModelOutput:
    """What an engine answers: actions and words, nothing decided yet."""

    actions: F32  # (S, 64, 2) normalised (acceleration, curvature)
    texts: tuple[str, ...]  # 1 shared or S own reasoning traces
    tokens: tuple[int, ...]  # tokens generated per text
    complete: tuple[bool, ...]  # per text; False: the model asked for no trajectory after it; never a plan
    meta_actions: tuple[str, ...] = ()  # per text, where the model states them

    def __post_init__(self) -> None:
        _freeze(self, actions=checked("actions", self.actions, np.float32, "S", HORIZON, 2))
        counts = len(self.texts), len(self.tokens), len(self.complete), len(self.meta_actions)
        if counts[0] not in (1, len(self.actions)) or counts[:2] != counts[1:3] or counts[3] not in (0, counts[0]):
            raise InvalidInput(f"{len(self.actions)} samples, texts, tokens, complete, meta-actions per sample: got {counts}")


@dataclass(frozen=True)
class Trajectory:
    """Points of a path over time. n = 64 from a model; a hold has fewer, a stop up to 512."""

    t_s: F64  # (n,) s after the stamp, increasing, the first > 0
    xyz: F64  # (n, 3) m, ego at the stamp
    yaw_rad: F64  # (n,) rad, ego at the stamp
    speed_mps: F64  # (n,) m/s
    accel_mps2: F64  # (n,) m/s^2, the action that led to the point
    curvature_1pm: F64  # (n,) 1/m, the action that led to the point

    def __post_init__(self) -> None:
        n = len(self.t_s)
        for name in ("t_s", "yaw_rad", "speed_mps", "accel_mps2", "curvature_1pm"):
            _freeze(self, **{name: checked(name, getattr(self, name), np.float64, n)})
        _freeze(self, xyz=checked("xyz", self.xyz, np.float64, n, 3))
        if n == 0 or self.t_s[0] <= 0 or (np.diff(self.t_s) <= 0).any():
            raise InvalidInput(f"trajectory: {n} times must be positive and increasing")


Longitudinal = Literal[
    "set_speed_tracking",
    "lead_obstacle_following",
    "speed_adaptation",
    "gap_searching",
    "acceleration_for_passing",
    "yield",
    "stop_for_static_constraints",
]
Lateral = Literal[
    "lane_keeping", "merge_split", "out_of_lane_nudge", "in_lane_nudge", "lane_change", "pull_over", "turn", "maneuver_abort"
]
Direction = Literal["left", "right"]
ComponentCategory = Literal[
    "critical_object", "traffic_light", "yield_stop_control", "road_event", "lane", "routing_intent", "odd_constraint"
]
LongitudinalAction = Literal[
    "maintain_speed", "gentle_accelerate", "strong_accelerate", "gentle_decelerate", "strong_decelerate", "stop", "reverse"
]
LateralAction = Literal[
    "go_straight", "steer_left", "steer_right", "sharp_steer_left", "sharp_steer_right", "reverse_left", "reverse_right"
]


@dataclass(frozen=True)
class Decision:
    """At most one decision per axis, from the closed sets of the Alpamayo-R1 paper, table 1."""

    longitudinal: Longitudinal | None = None
    lateral: Lateral | None = None
    direction: Direction | None = None  # of the lateral decision, where the words name a side


@dataclass(frozen=True)
class CriticalComponent:
    """A cause the trace names (table 2)."""

    category: ComponentCategory
    description: str
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class MetaAction:
    """A stretch [start, end) of a trajectory with one kind of motion on one axis (table 5)."""

    axis: Literal["longitudinal", "lateral"]
    action: LongitudinalAction | LateralAction
    start_s: float
    end_s: float


@dataclass(frozen=True)
class ReasoningTrace:
    """A parsed Chain-of-Causation text. Unverified model output: shown, never acted on."""

    text: str
    decision: Decision
    components: tuple[CriticalComponent, ...]
    tokens: int
    complete: bool
    meta_actions: str = ""  # as the model states them; those of the trajectory are derived by rule


@dataclass(frozen=True)
class Consistency:
    """Whether a decision and a trajectory's meta-actions agree. `agrees` is None when the trace names no decision."""

    agrees: bool | None
    why_not: str = ""


@dataclass(frozen=True)
class Plan:
    """What one cycle decided. Stage times are for reading, not part of a replay's hash."""

    t0_ns: int
    epoch: int
    source: Literal["model", "hold", "stop"]
    provisional: bool
    trajectory: Trajectory  # ego_t0
    candidates: tuple[Trajectory, ...]
    chosen: int  # index into candidates
    scores: tuple[float, ...]  # per candidate, higher is better
    reasoning: ReasoningTrace
    meta_actions: tuple[MetaAction, ...]
    consistent: Consistency
    stage_ms: Mapping[str, float] = field(default_factory=dict, compare=False)
