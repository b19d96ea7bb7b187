"""Scenes of the driving world as examples: what the vehicle would have had before it, what the expert then did and said."""

from __future__ import annotations

from collections.abc import Iterator

from alpamayo_ros.profile import InputProfile
from alpamayo_ros.reasoning import parse_trace
from alpamayo_ros.simulation.data.samples import Sample, Scene, SceneSamples, Window
from alpamayo_ros.simulation.expert.label import plainly
from alpamayo_ros.simulation.suites import SceneId
from alpamayo_ros.training.example import Example, Reasoning
from alpamayo_ros.types import STEP_S, CameraFrame, EgoPose, EgoSignals, Observation

_MS_NS = 1_000_000
_STEP_NS = round(STEP_S * 1e9)
_SIGNALS = {
    "speed": "speed_mps",
    "acceleration": "acceleration_mps2",
    "steering_angle": "steering_angle_rad",
    "turn_indicator": "turn_indicator",
}
"""Fields of EgoSignals by their names in a profile, in the order of the fields."""


def clip_of(scene: SceneId) -> str:
    """The name of a scene's examples: that of its members in a shard."""
    return f"{scene.family}-{scene.seed:06d}"


def t0_ns_of(scene: Scene, window: Window) -> int:
    """The stamp of a window's t0."""
    return scene.start_ns + window.step * _STEP_NS


def scene_examples(taken: SceneSamples, profile: InputProfile) -> Iterator[Example]:
    """The windows of a scene that was made for a profile, in the order of their t0, in plain words (`label.plainly`).

    Frames are views of the scene's pictures, one object for all windows that see it: an example keeps them in memory.
    """
    scene = taken.scene
    stamps_ns = [scene.start_ns + ms * _MS_NS for ms in scene.instants_ms]
    frames = {
        role: [CameraFrame(role, stamp_ns, 0, taken.pictures[at, place]) for at, stamp_ns in enumerate(stamps_ns)]
        for place, role in enumerate(scene.roles)
    }
    for window, sample in zip(scene.windows, taken.samples, strict=True):
        seen = {role: tuple(of_role[at] for at in window.frames) for role, of_role in frames.items()}
        ego_t0 = scene.track.ego(window.step).pose(t0_ns_of(scene, window))
        label = sample.label
        yield Example(
            clip=clip_of(scene.id),
            observation=_observation(sample, seen, ego_t0, profile),
            future=label.trajectory,
            meta_actions=label.meta_actions,
            reasoning=Reasoning(label.decision, parse_trace(said := plainly(label), 0, complete=True).components, said),
        )


def _observation(
    sample: Sample, frames: dict[str, tuple[CameraFrame, ...]], ego_t0: EgoPose, profile: InputProfile
) -> Observation:
    return Observation(
        stamp_ns=ego_t0.stamp_ns,
        epoch=0,
        frames=frames,
        history=sample.history,
        ego_t0=ego_t0,
        navigation=None if profile.navigation == "none" else sample.navigation,
        signals=_declared(sample.signals, profile),
        sync_error_ms={role: (0.0,) * len(of_role) for role, of_role in frames.items()},
    )


def _declared(signals: EgoSignals, profile: InputProfile) -> EgoSignals | None:
    """Of all signals those that the profile has."""
    if not profile.ego_signals:
        return None
    return EgoSignals(*(getattr(signals, field) if name in profile.ego_signals else None for name, field in _SIGNALS.items()))
