"""What a checkpoint says about itself: `config.json` of Alpamayo-R1 and 1.5, and of models in the same layout.

Sizes and constants come from the files, never from here. Classes named by `_target_` are recognised by their last component
(R1 and 1.5 name different packages); keys that only training reads are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from alpamayo_ros.bundle.folder import read_json
from alpamayo_ros.dynamics import ActionSpace
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.types import HORIZON, InvalidInput

Json = Mapping[str, Any]
Record = TypeVar("Record")

MODEL_TYPES: dict[str, Literal["r1", "1.5"]] = {"alpamayo_r1": "r1", "alpamayo1_5": "1.5", "alpamayo_ros": "r1"}
"""model_type of config.json -> whose names the special tokens have; 1.5 calls those that it does not use padding."""


@dataclass(frozen=True)
class TextConfig:
    """A decoder-only transformer: the language model, or the action expert. Names as in Qwen3-VL's config."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    mrope_section: tuple[int, int, int]  # frequencies that turn with time, height, width


@dataclass(frozen=True)
class VisionConfig:
    """Qwen3-VL's vision transformer."""

    depth: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    patch_size: int  # pixels
    temporal_patch_size: int  # frames; a still image is repeated
    spatial_merge_size: int  # patches per token and axis
    num_position_embeddings: int  # a square of learned positions
    out_hidden_size: int
    deepstack_visual_indexes: tuple[int, ...]  # blocks whose features join the first language layers


@dataclass(frozen=True)
class ActionInConfig:
    """From a noisy action and its time to the expert's width."""

    hidden_size: int
    num_enc_layers: int
    num_fourier_feats: int
    max_freq: float


@dataclass(frozen=True)
class FlexConfig:
    """Flex: learned scene tokens that see all cameras and times at once."""

    scene_tokens: int
    layers: int
    heads: int
    timesteps: int


@dataclass(frozen=True)
class TriplaneConfig:
    """Three planes around the vehicle (x-y, x-z, y-z), sampled through the cameras' calibration.

    Raises InvalidInput for sizes that do not fit each other.
    """

    cells: tuple[int, int, int]  # along x, y, z of ego, the half behind the vehicle included
    patch: tuple[int, int, int]  # cells per token along x, y, z
    inner_cells: int  # from the centre, along x and y, at the fine resolution
    inner_m: float  # reach of the fine resolution
    reach_m: float  # reach of the coarse resolution
    z_m: tuple[float, float]
    points: int  # per cell, along the normal of its plane
    features: int
    front_only: bool  # drop the half behind the vehicle

    def __post_init__(self) -> None:
        if any(cells % patch for cells, patch in zip(self.kept, self.patch, strict=True)):
            raise InvalidInput(f"triplane: {self.kept} cells do not divide into patches of {self.patch}")
        if not (0 < self.inner_cells < min(self.cells[:2]) / 2 and 0 < self.inner_m < self.reach_m):
            inner, outer = (f"{self.inner_cells} cells to {self.inner_m} m", f"{self.cells} to {self.reach_m} m")
            raise InvalidInput(f"triplane: the fine part ({inner}) must lie inside of the whole ({outer})")

    @property
    def kept(self) -> tuple[int, int, int]:
        """Cells along x, y, z."""
        x, y, z = self.cells
        return (x // 2 if self.front_only else x), y, z

    @property
    def tokens(self) -> int:
        """Tokens of one timestep, all three planes together."""
        x, y, z = (cells // patch for cells, patch in zip(self.kept, self.patch, strict=True))
        return x * y + x * z + y * z


@dataclass(frozen=True)
class Bins:
    """Uniform bins, one range per dimension."""

    num_bins: int
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Config:
    """Everything about a model that is not a weight."""

    generation: Literal["r1", "1.5"]
    text: TextConfig
    vision: VisionConfig
    expert: TextConfig
    action_in: ActionInConfig
    action_space: ActionSpace
    flow_steps: int
    history_bins: Bins  # successive differences of x, y, z, m
    future_bins: Bins  # normalised acceleration, curvature
    vocab_size: int  # rows of the embedding, all added tokens included
    traj_token_start: int  # id of <i0>
    traj_vocab_size: int
    history_tokens: int
    future_tokens: int
    token_ids: Mapping[str, int]  # history, future, history_start, future_start, history_end, future_end
    image_token_id: int
    eos_token_id: int
    min_pixels: int
    max_pixels: int
    camera_labels: bool
    frame_labels: bool
    dtype: str  # of the stored weights
    views: FlexConfig | TriplaneConfig | None  # None: each image by itself, as released


def read_config(folder: Path) -> Config:
    """Config of a bundle: `config.json`, with the backbone's own config in its key `vlm_config` or beside it in
    `backbone.json` (released checkpoints only name theirs). Raises InvalidInput."""
    stored = read_json(folder / "config.json")
    backbone = stored.get("vlm_config") or read_json(folder / "backbone.json")
    return parse_config(stored, backbone, str(folder / "config.json"))


def check_profile(profile: InputProfile, config: Config) -> None:
    """Raise InvalidInput, with both sides, unless the profile asks for what the network is."""
    views, times, name = config.views, len(profile.frame_offsets_ms), profile.name
    token = config.vision.patch_size * config.vision.spatial_merge_size  # pixels
    images = times * len(profile.cameras)
    kind, tokens = "single_image", images * (profile.image_height // token) * (profile.image_width // token)
    if isinstance(views, FlexConfig):
        kind, tokens = "flex", views.scene_tokens
    elif views is not None:
        kind, tokens = "triplane", views.tokens * times
    if profile.views != kind:
        raise InvalidInput(f"profile {name} says views {profile.views}, config.json {kind}")
    if isinstance(views, FlexConfig) and views.timesteps != times:
        raise InvalidInput(f"profile {name} has {times} timesteps, config.json {views.timesteps}")
    if profile.scene_tokens != tokens:
        raise InvalidInput(f"profile {name} says {profile.scene_tokens} scene tokens, config.json makes {tokens}")
    if 3 * profile.history_steps != config.history_tokens:
        steps = profile.history_steps
        raise InvalidInput(f"profile {name} has {steps} poses, config.json tokens for {config.history_tokens / 3:g}")


def parse_config(stored: Json, backbone: Json, where: str) -> Config:
    """Config of a checkpoint's own JSON and its backbone's. Raises InvalidInput that names the key and `where`."""
    if stored.get("model_type") not in MODEL_TYPES:
        raise InvalidInput(f"{where}: model_type {stored.get('model_type')!r}, want one of {', '.join(MODEL_TYPES)}")
    if backbone.get("model_type") != "qwen3_vl":
        raise InvalidInput(f"{where}: backbone of model_type {backbone.get('model_type')!r}, want qwen3_vl")
    text = _text(_key(backbone, "text_config", where), where)
    action_space = _target(stored, "action_space_cfg", "UnicycleAccelCurvatureActionSpace", where)
    flow = _target(stored, "diffusion_cfg", "FlowMatching", where)
    _target(stored, "action_out_proj_cfg", "Linear", where)
    config = Config(
        generation=MODEL_TYPES[stored["model_type"]],
        text=text,
        vision=_record(VisionConfig, _key(backbone, "vision_config", where), where),
        expert=_overridden(text, _key(stored, "expert_cfg", where)),
        action_in=_record(ActionInConfig, _target(stored, "action_in_proj_cfg", "PerWaypointActionInProjV2", where), where),
        action_space=_action_space(action_space, where),
        flow_steps=_key(flow, "num_inference_steps", where),
        history_bins=_history_bins(stored, where),
        future_bins=_future_bins(stored, where),
        vocab_size=_key(stored, "vocab_size", where),
        traj_token_start=_key(stored, "traj_token_start_idx", where),
        traj_vocab_size=_key(stored, "traj_vocab_size", where),
        history_tokens=_key(stored, "tokens_per_history_traj", where),
        future_tokens=_key(stored, "tokens_per_future_traj", where),
        token_ids=dict(_key(stored, "traj_token_ids", where)),
        image_token_id=_key(backbone, "image_token_id", where),
        eos_token_id=_key(_key(backbone, "text_config", where), "eos_token_id", where),
        min_pixels=_key(stored, "min_pixels", where),
        max_pixels=_key(stored, "max_pixels", where),
        camera_labels=bool(stored.get("include_camera_ids")),
        frame_labels=bool(stored.get("include_frame_nums")),
        dtype=_key(stored, "model_dtype", where),
        views=_views(stored.get("views"), where),
    )
    _check_network(config, where)
    _check_tokens(config, where)
    return config


def _check_network(config: Config, where: str) -> None:
    """What the networks demand of each other. Raises InvalidInput with both sides."""
    text, expert = config.text, config.expert
    shared = ("num_hidden_layers", "num_key_value_heads", "head_dim", "rope_theta", "mrope_section")
    for name in shared:  # the expert attends to the language model's keys and values, layer by layer
        if getattr(text, name) != getattr(expert, name):
            raise InvalidInput(f"{where}: {name} of the expert {getattr(expert, name)}, of the model {getattr(text, name)}")
    for part, heads in (("the model", text.num_attention_heads), ("the expert", expert.num_attention_heads)):
        if heads % text.num_key_value_heads:
            raise InvalidInput(f"{where}: {heads} heads of {part} do not share {text.num_key_value_heads} key-value heads")
    vision, taps = config.vision, config.vision.deepstack_visual_indexes
    if config.views is None and vision.out_hidden_size != text.hidden_size:
        raise InvalidInput(
            f"{where}: vision gives {vision.out_hidden_size} numbers a token, the model takes {text.hidden_size}"
        )
    if len(taps) > text.num_hidden_layers or max(taps, default=0) >= vision.depth:
        raise InvalidInput(f"{where}: deepstack {taps} of {vision.depth} blocks into {text.num_hidden_layers} layers")
    if vision.hidden_size % (4 * vision.num_heads):  # a rotation takes two numbers, of the row and of the column
        raise InvalidInput(f"{where}: vision of {vision.hidden_size} numbers in {vision.num_heads} heads")
    if 2 * sum(text.mrope_section) != text.head_dim:
        raise InvalidInput(f"{where}: mrope_section {text.mrope_section} must sum to half of head_dim {text.head_dim}")
    if config.views is not None and taps:
        raise InvalidInput(f"{where}: deepstack {taps} is of single images, and views want none")


def _check_tokens(config: Config, where: str) -> None:
    """What tokens demand of each other. Raises InvalidInput with both sides."""
    keys = {f"{time}{part}" for time in ("history", "future") for part in ("", "_start", "_end")}
    if keys - config.token_ids.keys():
        raise InvalidInput(f"{where}: traj_token_ids lacks {', '.join(sorted(keys - config.token_ids.keys()))}")
    if config.history_tokens % 3:
        raise InvalidInput(f"{where}: tokens_per_history_traj {config.history_tokens}, want x, y, z of every pose")
    if config.future_tokens != HORIZON * len(config.future_bins.low):
        raise InvalidInput(f"{where}: tokens_per_future_traj {config.future_tokens}, want {HORIZON} steps of 2")
    bins = config.future_bins.num_bins + config.history_bins.num_bins
    if bins > config.traj_vocab_size:
        raise InvalidInput(f"{where}: {bins} bins do not fit in traj_vocab_size {config.traj_vocab_size}")
    if config.traj_token_start + config.traj_vocab_size > config.vocab_size:
        raise InvalidInput(f"{where}: <i*> tokens end beyond vocab_size {config.vocab_size}")


def _key(values: Json, name: str, where: str) -> Any:
    if name not in values:
        raise InvalidInput(f"{where}: no key {name!r} among {', '.join(sorted(values)) or 'none'}")
    return values[name]


def _target(stored: Json, name: str, wanted: str, where: str) -> Json:
    """A sub-config after checking the class it is for."""
    found: Json = _key(stored, name, where)
    target = str(_key(found, "_target_", f"{where}: {name}"))
    if target.rpartition(".")[2] != wanted:
        raise InvalidInput(f"{where}: {name} is for {target!r}, want {wanted}")
    return found


def _record(kind: type[Record], values: Json, where: str) -> Record:
    """A dataclass from the keys it knows; lists become tuples, other keys are ignored."""
    found = {f.name: _key(values, f.name, f"{where}: {kind.__name__}") for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in found.items()})


def _text(values: Json, where: str) -> TextConfig:
    """Text config; the rotary settings sit in `rope_scaling` + `rope_theta`, or all in `rope_parameters`, by version."""
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not rope.get("mrope_interleaved"):
        raise InvalidInput(f"{where}: want interleaved M-RoPE, got {rope}")
    return _record(TextConfig, {**values, **rope}, where)


def _overridden(text: TextConfig, values: Json) -> TextConfig:
    known = {f.name for f in fields(TextConfig)}
    return replace(text, **{name: value for name, value in values.items() if name in known})


def _action_space(values: Json, where: str) -> ActionSpace:
    if _key(values, "n_waypoints", where) != HORIZON:
        raise InvalidInput(f"{where}: n_waypoints {values['n_waypoints']}, want {HORIZON}")
    renamed = {
        "accel_mean": "accel_mean_mps2",
        "accel_std": "accel_std_mps2",
        "curvature_mean": "curvature_mean_1pm",
        "curvature_std": "curvature_std_1pm",
        "dt": "dt_s",
    }
    bounds = {"accel_bounds": "accel_bounds_mps2", "curvature_bounds": "curvature_bounds_1pm"}
    required = {ours: float(_key(values, theirs, where)) for theirs, ours in renamed.items()}
    optional = {ours: tuple(values[theirs]) for theirs, ours in bounds.items() if theirs in values}
    smoothing = {"theta": "yaw", "v": "speed", "a": "accel", "kappa": "curvature"}
    weights = {
        f"{ours}_{kind}": float(values[f"{theirs}_{kind}"])
        for theirs, ours in smoothing.items()
        for kind in ("lambda", "ridge")
        if f"{theirs}_{kind}" in values
    }
    return ActionSpace(**required, **optional, **weights)  # type: ignore[arg-type]


def _history_bins(stored: Json, where: str) -> Bins:
    values = _target(stored, "hist_traj_tokenizer_cfg", "DeltaTrajectoryTokenizer", where)
    if values.get("predict_yaw"):
        raise InvalidInput(f"{where}: history tokens with yaw are of no released model")
    low, high = _key(values, "ego_xyz_min", where), _key(values, "ego_xyz_max", where)
    return Bins(_key(values, "num_bins", where), tuple(low), tuple(high))


def _future_bins(stored: Json, where: str) -> Bins:
    values = _target(stored, "traj_tokenizer_cfg", "DiscreteTrajectoryTokenizer", where)
    return Bins(_key(values, "num_bins", where), tuple(_key(values, "dims_min", where)), tuple(_key(values, "dims_max", where)))


def _views(values: Json | None, where: str) -> FlexConfig | TriplaneConfig | None:
    if values is None:
        return None
    kinds: dict[str, type[FlexConfig | TriplaneConfig]] = {"flex": FlexConfig, "triplane": TriplaneConfig}
    kind = _key(values, "kind", f"{where}: views")
    if kind not in kinds:
        raise InvalidInput(f"{where}: views of kind {kind!r}, want one of {', '.join(kinds)}")
    return _record(kinds[kind], values, where)
