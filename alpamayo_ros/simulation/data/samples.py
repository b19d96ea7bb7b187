"""Labelled samples: what a model sees at a t0 of an expert's drive, what was driven from then on, and why.

Pictures are taken once per instant and shared by the windows that overlap. Everything follows from the scene's family and seed.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from alpamayo_ros.evaluation.false_rejects import wordless
from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.pipeline.observe import history_of
from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.safety.checks import findings
from alpamayo_ros.safety.limits import LIMITS
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy
from alpamayo_ros.simulation.closed_loop.settings import DEFAULTS, LoopSettings, start_ns, tick_of
from alpamayo_ros.simulation.data.course import COURSE_M, course
from alpamayo_ros.simulation.data.sights import KINDS, sights
from alpamayo_ros.simulation.episode import Episode, Planned
from alpamayo_ros.simulation.expert.intention import Cause
from alpamayo_ros.simulation.expert.label import Label, driven, label
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.simulation.navigation import navigation_at
from alpamayo_ros.simulation.rendering import Stage
from alpamayo_ros.simulation.rendering.cameras import SceneCameras, pictures
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import Ego
from alpamayo_ros.simulation.suites import SceneId
from alpamayo_ros.types import (
    F32,
    F64,
    HORIZON,
    STEP_S,
    U8,
    Consistency,
    Decision,
    EgoHistory,
    EgoSignals,
    InvalidInput,
    MetaAction,
    Navigation,
    Trajectory,
    TurnIndicator,
    checked,
)

CELL_PX = 16
"""Side of a cell of `sights`: a patch of the vision tower."""

_STEP_MS = round(STEP_S * 1000)
_HORIZON_S = HORIZON * STEP_S


@dataclass(frozen=True)
class Track:
    """The ego of a drive every 0.1 s from t = 0, in the odometry frame."""

    xy_m: F64  # (N, 2) rear axle
    yaw_rad: F64  # (N,)
    speed_mps: F64  # (N,)
    accel_mps2: F64  # (N,)
    steering_rad: F64  # (N,) front wheels, positive turns left
    indicator: tuple[TurnIndicator, ...]  # N

    @cached_property
    def egos(self) -> tuple[Ego, ...]:
        """Of every step."""
        numbers = (each.tolist() for each in (self.yaw_rad, self.speed_mps, self.accel_mps2, self.steering_rad))
        return tuple(map(Ego, self.xy_m, *numbers, self.indicator))

    def ego(self, step: int) -> Ego:
        """The ego at a step."""
        return self.egos[step]


@dataclass(frozen=True)
class Window:
    """A t0 of a scene with its label, but for the trajectory where the track holds it."""

    step: int  # of the track
    frames: tuple[int, ...]  # indices of the scene's instants, oldest first
    navigation: Navigation | None
    decision: Decision
    causes: tuple[Cause, ...]
    text: str
    meta_actions: tuple[MetaAction, ...]
    consistent: Consistency
    surprise_m: float
    is_balanced: bool
    intended: Trajectory | None  # by the expert, where somebody else drove


@dataclass(frozen=True)
class Scene:
    """Everything of a drive's samples but their pixels."""

    id: SceneId
    start_ns: int  # stamp of t = 0
    history_steps: int
    roles: tuple[str, ...]
    height: int  # pixels of every picture
    width: int
    instants_ms: tuple[int, ...]  # at which there are pictures, after t = 0
    track: Track
    windows: tuple[Window, ...]
    world: str  # which of several worlds of this scene it is, "" where there is one
    dropped: Mapping[str, int]  # windows that became no sample, by reason

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """Of the windows."""
        return tuple(
            Label(
                window.step * STEP_S,
                window.decision,
                window.causes,
                window.text,
                window.intended or driven([self.track.ego(window.step + k) for k in range(HORIZON + 1)]),
                window.meta_actions,
                window.consistent,
                window.surprise_m,
                window.is_balanced,
            )
            for window in self.windows
        )


@dataclass(frozen=True)
class Sample:
    """One window as a model learns from it."""

    frames: tuple[int, ...]  # indices of the scene's pictures, oldest first
    history: EgoHistory
    signals: EgoSignals  # all four
    navigation: Navigation | None
    label: Label

    @property
    def future(self) -> tuple[F32, F32]:
        """xyz (64, 3) m and rotations (64, 3, 3) of the label's trajectory, ego_t0, as `actions_from_trajectory` takes them."""
        way = self.label.trajectory
        rot = np.stack([rotation_z(yaw) for yaw in way.yaw_rad.tolist()])
        return way.xyz.astype(np.float32), rot.astype(np.float32)


@dataclass(frozen=True)
class SceneSamples:
    """A scene with its pictures; `samples` are its windows as arrays."""

    scene: Scene
    pictures: U8  # (instants, roles, H, W, 3) RGB
    kinds: U8  # (instants, roles, rows, columns, sights.KINDS) what is seen in each cell, see `sights.Sights`
    nearest_m: F32  # (instants, roles, rows, columns)
    course_rad: F32  # (instants, COURSE_M) where the road goes, see `course.course`

    def __post_init__(self) -> None:
        scene = self.scene
        shots = len(scene.instants_ms), len(scene.roles)
        cells = *shots, scene.height // CELL_PX, scene.width // CELL_PX
        shape = *shots, scene.height, scene.width, 3
        object.__setattr__(self, "pictures", checked("pictures", self.pictures, np.uint8, *shape))
        object.__setattr__(self, "kinds", checked("kinds", self.kinds, np.uint8, *cells, len(KINDS)))
        object.__setattr__(self, "nearest_m", checked("nearest_m", self.nearest_m, np.float32, *cells))
        object.__setattr__(self, "course_rad", checked("course_rad", self.course_rad, np.float32, shots[0], len(COURSE_M)))

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """In the order of their t0."""
        return tuple(_sample(self.scene, *each) for each in zip(self.scene.windows, self.scene.labels, strict=True))


def scene_samples(
    scene: SceneId,
    rig: Rig,
    profile: InputProfile,
    duration_s: float | None = None,
    driver: ExpertPolicy | None = None,
    settings: LoopSettings = DEFAULTS,
) -> SceneSamples:
    """Let the expert drive a scene, and label it. Raises InvalidInput as `samples_of` does, and for an unknown scene."""
    episode = run_episode(make_scenario(scene.family, scene.seed, duration_s), driver or ExpertPolicy(), settings)
    return samples_of(episode, rig, profile)


def samples_of(episode: Episode, rig: Rig, profile: InputProfile, world: str = "") -> SceneSamples:
    """Label the expert's drive, twice a second; pictures are of the profile's cameras, at its size.

    A drive that ended with an incident has no samples but of instants at which somebody else drove. Raises InvalidInput for a
    drive whose driver failed (a data set would silently lack what it fails on), for a rig that lacks a camera of the profile,
    and for instants that the world does not have.
    """
    if episode.failure:
        raise InvalidInput(f"{episode.scenario.family} {episode.scenario.seed}: {episode.policy} failed {episode.failure}")
    rig.check_covers(profile)
    roles = tuple(role for role in profile.cameras if role in rig.cameras)
    labels, dropped = _labels(episode, profile)
    instants_ms = sorted({_ms(why.t0_s) + offset_ms for why in labels for offset_ms in profile.frame_offsets_ms})
    scene = Scene(
        id=SceneId(episode.scenario.family, episode.scenario.seed),
        start_ns=start_ns(episode.scenario),
        history_steps=profile.history_steps,
        roles=roles,
        height=profile.image_height,
        width=profile.image_width,
        instants_ms=tuple(instants_ms),
        track=_track(episode),
        windows=tuple(_window(episode, profile, instants_ms, why) for why in labels),
        world=world,
        dropped=dropped,
    )
    return SceneSamples(scene, *_seen(scene, episode, rig))


def _labels(episode: Episode, profile: InputProfile) -> tuple[list[Label], Counter[str]]:
    """Labels of the windows whose past was driven, and whose future was, or would have been; and why others have none."""
    back = max(profile.history_steps - 1, -profile.frame_offsets_ms[0] // _STEP_MS)
    labelled = [planned for planned in episode.planned if DEFAULTS.plans_at(tick_of(planned.t0_s))]
    seen = [planned for planned in labelled if tick_of(planned.t0_s) >= back]
    strayed = [planned for planned in seen if planned.has_strayed]
    whole = [each for each in seen if not each.has_strayed and tick_of(each.t0_s) < len(episode.snapshots) - HORIZON]
    kept = [each for each in whole if not any(each.t0_s < other.t0_s < each.t0_s + _HORIZON_S for other in strayed)]
    dropped = Counter({"strayed": len(whole) - len(kept)})
    if episode.incident is not None:
        kept, dropped = [], Counter({episode.incident.kind: len(whole)})
    told = [each for each in strayed if not _is_rejected(each)]
    asked = sorted((*kept, *told), key=lambda planned: planned.t0_s)
    found = [label(episode, planned, words_rng(episode.scenario, planned)) for planned in asked]
    labels = [each for each in found if each is not None]
    return labels, +(dropped + Counter({"rejected": len(strayed) - len(told), "surprise": len(found) - len(labels)}))


def _is_rejected(planned: Planned) -> bool:
    """Whether the supervisor would not let through what the expert intends: it knows no way out, and that is no example."""
    assert planned.intention is not None
    ego = planned.ego.pose(round(planned.t0_s * 1e9))
    return any(found.level == "reject" for found in findings(wordless(planned.intention.trajectory, ego), ego, LIMITS))


def words_rng(scenario: Scenario, planned: Planned) -> np.random.Generator:
    """What chooses the words of a window."""
    return np.random.default_rng([zlib.crc32(scenario.family.encode()), scenario.seed, _ms(planned.t0_s)])


def _window(episode: Episode, profile: InputProfile, instants_ms: list[int], why: Label) -> Window:
    step = tick_of(why.t0_s)
    stamp_ns = start_ns(episode.scenario) + step * _STEP_MS * 1_000_000
    has_strayed = any(planned.has_strayed for planned in episode.planned if planned.t0_s == why.t0_s)
    return Window(
        step,
        tuple(instants_ms.index(step * _STEP_MS + offset_ms) for offset_ms in profile.frame_offsets_ms),
        navigation_at(episode.scenario, episode.snapshots[step].ego, stamp_ns),
        why.decision,
        why.causes,
        why.text,
        why.meta_actions,
        why.consistent,
        why.surprise_m,
        why.is_balanced,
        why.trajectory if has_strayed else None,
    )


def _ms(t_s: float) -> int:
    return tick_of(t_s) * _STEP_MS


def _track(episode: Episode) -> Track:
    egos = [snapshot.ego for snapshot in episode.snapshots]
    return Track(
        xy_m=np.array([ego.xy_m for ego in egos]),
        yaw_rad=np.array([ego.yaw_rad for ego in egos]),
        speed_mps=np.array([ego.speed_mps for ego in egos]),
        accel_mps2=np.array([ego.accel_mps2 for ego in egos]),
        steering_rad=np.array([ego.steering_rad for ego in egos]),
        indicator=tuple(ego.indicator for ego in egos),
    )


def _seen(scene: Scene, episode: Episode, rig: Rig) -> tuple[U8, U8, F32, F32]:
    """Pictures (instants, roles, H, W, 3), what is on them, and where the road goes."""
    if odd := [ms for ms in scene.instants_ms if ms % _STEP_MS]:
        raise InvalidInput(f"pictures at {odd[:8]} ms: the world has an instant every {_STEP_MS} ms")
    shots = len(scene.instants_ms), len(scene.roles)
    cells = scene.height // CELL_PX, scene.width // CELL_PX
    taken = np.empty((*shots, scene.height, scene.width, 3), np.uint8)
    kinds, nearest_m = np.empty((*shots, *cells, len(KINDS)), np.uint8), np.empty((*shots, *cells), np.float32)
    course_rad = np.empty((shots[0], len(COURSE_M)), np.float32)
    stage, cameras = Stage(episode.scenario), SceneCameras(rig, (scene.height, scene.width))
    for index, ms in enumerate(scene.instants_ms):
        snapshot = episode.snapshots[ms // _STEP_MS]
        painted = pictures(stage, snapshot, cameras, scene.roles)
        taken[index] = [painted[role] for role in scene.roles]
        kinds[index], nearest_m[index] = sights(episode.scenario, snapshot, cameras, scene.roles, *cells)
        course_rad[index] = course(episode.scenario, snapshot.ego)
    return taken, kinds, nearest_m, course_rad


def _sample(scene: Scene, window: Window, why: Label) -> Sample:
    """What `observe` makes of the same motion."""
    egos = [scene.track.ego(step) for step in range(window.step - scene.history_steps + 1, window.step + 1)]
    t0_ns = scene.start_ns + window.step * _STEP_MS * 1_000_000
    stamps_ns = [t0_ns - back * _STEP_MS * 1_000_000 for back in reversed(range(len(egos)))]
    return Sample(
        frames=window.frames,
        history=history_of([ego.pose(stamp_ns) for ego, stamp_ns in zip(egos, stamps_ns, strict=True)]),
        signals=EgoSignals(
            np.array([ego.speed_mps for ego in egos], np.float32),
            np.array([ego.accel_mps2 for ego in egos], np.float32),
            np.array([ego.steering_rad for ego in egos], np.float32),
            tuple(ego.indicator for ego in egos),
        ),
        navigation=window.navigation,
        label=why,
    )
