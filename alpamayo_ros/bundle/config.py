"""What a checkpoint says about itself: `config.json` of Alpamayo-R1 and 1.5, and of models in the same layout.

Sizes and constants come from the files, never from here. Classes named by `_target_` are recognised by their last component
(R1 and 1.5 name different packages); keys that only training reads are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isqrt
from pathlib import Path
from reprlib import repr as shortened
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from alpamayo_ros.bundle.folder import MODEL_TYPES, Bundle, known_model_type, read_bundle, read_json, read_stored
from alpamayo_ros.dynamics import ActionSpace
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.types import HORIZON, InvalidInput

Json = Mapping[str, Any]
Record = TypeVar("Record")

Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    if not ends[0] < ends[1]:
        raise InvalidInput(f"{ends}: want the lower end first")
    return ends


Range = Annotated[tuple[Number, Number], AfterValidator(_rising)]

ACTION_SPACE: dict[str, tuple[str, Any]] = {
    "accel_mean": ("accel_mean_mps2", Number),
    "accel_std": ("accel_std_mps2", Positive),
    "curvature_mean": ("curvature_mean_1pm", Number),
    "curvature_std": ("curvature_std_1pm", Positive),
    "dt": ("dt_s", Positive),
    "accel_bounds": ("accel_bounds_mps2", Range),
    "curvature_bounds": ("curvature_bounds_1pm", Range),
} | {
    f"{theirs}_{kind}": (f"{ours}_{kind}", Annotated[Number, Field(ge=0)])
    for theirs, ours in (("theta", "yaw"), ("v", "speed"), ("a", "accel"), ("kappa", "curvature"))
    for kind in ("lambda", "ridge")
}
"""Key of action_space_cfg -> field of ActionSpace, and what it may be. The first five must be there."""


@dataclass(frozen=True)
class TextConfig:
    """A decoder-only transformer: the language model, or the action expert. Names as in Qwen3-VL's config."""

    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count
    head_dim: Count
    rms_norm_eps: Positive
    rope_theta: Positive
    mrope_section: tuple[Index, Index, Index]  # frequencies that turn with time, height, width


@dataclass(frozen=True)
class VisionConfig:
    """Qwen3-VL's vision transformer."""

    depth: Count
    hidden_size: Count
    intermediate_size: Count
    num_heads: Count
    patch_size: Count  # pixels
    temporal_patch_size: Count  # frames; a still image is repeated
    spatial_merge_size: Count  # patches per token and axis
    num_position_embeddings: Count  # a square of learned positions
    out_hidden_size: Count
    deepstack_visual_indexes: tuple[Index, ...]  # blocks whose features join the first language layers


@dataclass(frozen=True)
class ActionInConfig:
    """From a noisy action and its time to the expert's width."""

    hidden_size: Count
    num_enc_layers: Count
    num_fourier_feats: Annotated[int, Field(ge=2, multiple_of=2)]
    max_freq: Positive


@dataclass(frozen=True)
class FlexConfig:
    """Flex: learned scene tokens that see all cameras and times at once."""

    scene_tokens: Count
    layers: Count
    heads: Count
    timesteps: Count


@dataclass(frozen=True)
class TriplaneConfig:
    """Three planes around the vehicle (x-y, x-z, y-z), sampled through the cameras' calibration.

    Raises InvalidInput for sizes that do not fit each other.
    """

    cells: tuple[Count, Count, Count]  # along x, y, z of ego, the half behind the vehicle included
    patch: tuple[Count, Count, Count]  # cells per token along x, y, z
    inner_cells: Count  # from the centre, along x and y, at the fine resolution
    inner_m: Positive  # reach of the fine resolution
    reach_m: Positive  # reach of the coarse resolution
    z_m: Range
    points: Count  # per cell, along the normal of its plane
    features: Count
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


def open_bundle(folder: Path) -> tuple[Bundle, Config]:
    """A complete bundle, and what its network is. Raises InvalidInput: files lack, cannot be read, or do not fit together."""
    bundle = read_bundle(folder)
    bundle.require_complete()
    config = read_config(folder)
    check_profile(bundle.profile, config)
    return bundle, config


def read_config(folder: Path) -> Config:
    """Config of a bundle: `config.json`, with the backbone's own config in its key `vlm_config` or beside it in
    `backbone.json` (released checkpoints only name theirs). Raises InvalidInput."""
    stored = read_stored(folder)
    backbone = stored["vlm_config"] if "vlm_config" in stored else read_json(folder / "backbone.json")
    return parse_config(stored, backbone, str(folder / "config.json"))


def check_profile(profile: InputProfile, config: Config) -> None:
    """Raise InvalidInput, with both sides, unless the profile asks for what the network is."""
    views, times, name = config.views, len(profile.frame_offsets_ms), profile.name
    token = config.vision.patch_size * config.vision.spatial_merge_size  # pixels
    images, (height, width, _) = times * len(profile.cameras), profile.image_shape
    kind, tokens = "single_image", images * (height // token) * (width // token)
    if isinstance(views, FlexConfig):
        kind, tokens = "flex", views.scene_tokens
    elif views is not None:
        kind, tokens = "triplane", views.tokens * times
    if profile.views != kind:
        raise InvalidInput(f"profile {name} says views {profile.views}, config.json {kind}")
    if height % token or width % token or not config.min_pixels <= height * width <= config.max_pixels:
        wanted = f"multiples of {token} and {config.min_pixels} to {config.max_pixels} pixels"
        raise InvalidInput(f"profile {name} has images of {height}x{width}, config.json wants {wanted}")
    if isinstance(views, FlexConfig) and views.timesteps != times:
        raise InvalidInput(f"profile {name} has {times} timesteps, config.json {views.timesteps}")
    if profile.scene_tokens != tokens:
        raise InvalidInput(f"profile {name} says {profile.scene_tokens} scene tokens, config.json makes {tokens}")
    if 3 * (steps := profile.history_steps) != config.history_tokens:
        raise InvalidInput(f"profile {name} has {steps} poses, config.json tokens for {config.history_tokens / 3:g}")


def parse_config(stored: Json, backbone: Json, where: str) -> Config:
    """Config of a checkpoint's own JSON and its backbone's. Raises InvalidInput that names the file and the key.

    `where`: path of config.json; `backbone` is from its key `vlm_config` if it has that, and else from backbone.json beside it.
    """
    model_type = known_model_type(stored, where)
    beside = f"{where}: vlm_config" if "vlm_config" in stored else str(Path(where).with_name("backbone.json"))
    if _key(backbone, "model_type", beside) != "qwen3_vl":
        raise InvalidInput(f"{beside}: backbone of model_type {backbone['model_type']!r}, want qwen3_vl")
    text_values = _key(backbone, "text_config", beside)
    text = _text(text_values, f"{beside}: text_config")
    action_in = _target(stored, "action_in_proj_cfg", "PerWaypointActionInProjV2", where)
    _target(stored, "action_out_proj_cfg", "Linear", where)
    config = Config(
        generation=MODEL_TYPES[model_type],
        text=text,
        vision=_record(VisionConfig, _key(backbone, "vision_config", beside), f"{beside}: vision_config"),
        expert=_expert(text, _key(stored, "expert_cfg", where), f"{where}: expert_cfg"),
        action_in=_record(ActionInConfig, action_in, f"{where}: action_in_proj_cfg"),
        action_space=_action_space(stored, where),
        flow_steps=_value(Count, _target(stored, "diffusion_cfg", "FlowMatching", where), "num_inference_steps", where),
        history_bins=_history_bins(stored, where),
        future_bins=_future_bins(stored, where),
        vocab_size=_value(Count, stored, "vocab_size", where),
        traj_token_start=_value(Index, stored, "traj_token_start_idx", where),
        traj_vocab_size=_value(Count, stored, "traj_vocab_size", where),
        history_tokens=_value(Count, stored, "tokens_per_history_traj", where),
        future_tokens=_value(Count, stored, "tokens_per_future_traj", where),
        token_ids=_value(dict[str, Index], stored, "traj_token_ids", where),
        image_token_id=_value(Index, backbone, "image_token_id", beside),
        eos_token_id=_value(Index, text_values, "eos_token_id", f"{beside}: text_config"),
        min_pixels=_value(Count, stored, "min_pixels", where),
        max_pixels=_value(Count, stored, "max_pixels", where),
        camera_labels=_typed(bool, stored.get("include_camera_ids", False), f"{where}: include_camera_ids"),
        frame_labels=_typed(bool, stored.get("include_frame_nums", False), f"{where}: include_frame_nums"),
        dtype=_value(Literal["float64", "float32", "float16", "bfloat16"], stored, "model_dtype", where),
        views=_views(stored.get("views"), f"{where}: views"),
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
    vision, taps, width = config.vision, config.vision.deepstack_visual_indexes, config.vision.out_hidden_size
    if config.views is None and width != text.hidden_size:
        raise InvalidInput(f"{where}: vision gives {width} numbers a token, the model takes {text.hidden_size}")
    if len(taps) > text.num_hidden_layers or max(taps, default=0) >= vision.depth:
        raise InvalidInput(f"{where}: deepstack {taps} of {vision.depth} blocks into {text.num_hidden_layers} layers")
    if vision.hidden_size % (4 * vision.num_heads):  # a rotation takes two numbers, of the row and of the column
        raise InvalidInput(f"{where}: vision of {vision.hidden_size} numbers in {vision.num_heads} heads")
    if 2 * sum(text.mrope_section) != text.head_dim:
        raise InvalidInput(f"{where}: mrope_section {text.mrope_section} must sum to half of head_dim {text.head_dim}")
    if isqrt(vision.num_position_embeddings) ** 2 != vision.num_position_embeddings:
        raise InvalidInput(f"{where}: num_position_embeddings {vision.num_position_embeddings} are no square")
    if isinstance(config.views, FlexConfig) and width % config.views.heads:
        raise InvalidInput(f"{where}: views of {width} numbers a token in {config.views.heads} heads")
    if config.views is not None and taps:
        raise InvalidInput(f"{where}: deepstack {taps} is of single images, and views want none")


def _check_tokens(config: Config, where: str) -> None:
    """What tokens demand of each other. Raises InvalidInput with both sides."""
    keys = {f"{time}{part}" for time in ("history", "future") for part in ("", "_start", "_end")}
    if keys - config.token_ids.keys():
        raise InvalidInput(f"{where}: traj_token_ids lacks {', '.join(sorted(keys - config.token_ids.keys()))}")
    if config.min_pixels > config.max_pixels:
        raise InvalidInput(f"{where}: min_pixels {config.min_pixels} beyond max_pixels {config.max_pixels}")
    if config.history_tokens % 3:
        raise InvalidInput(f"{where}: tokens_per_history_traj {config.history_tokens}, want x, y, z of every pose")
    if config.future_tokens != 2 * HORIZON:
        raise InvalidInput(f"{where}: tokens_per_future_traj {config.future_tokens}, want {HORIZON} steps of 2")
    bins = config.future_bins.num_bins + config.history_bins.num_bins
    if bins > config.traj_vocab_size:
        raise InvalidInput(f"{where}: {bins} bins do not fit in traj_vocab_size {config.traj_vocab_size}")
    if config.traj_token_start + config.traj_vocab_size > config.vocab_size:
        raise InvalidInput(f"{where}: <i*> tokens end beyond vocab_size {config.vocab_size}")


def _object(values: Any, where: str) -> Json:
    if not isinstance(values, Mapping):
        raise InvalidInput(f"{where}: want a JSON object, got {shortened(values)}")
    return values


def _key(values: Any, name: str, where: str) -> Any:
    if name not in _object(values, where):
        raise InvalidInput(f"{where}: no key {name!r} among {', '.join(sorted(values)) or 'none'}")
    return values[name]


def _typed(kind: Any, value: Any, where: str) -> Any:
    """A value as its type has it in JSON: no number from a text, no whole number from a fraction; tuples are lists."""
    try:
        return TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        problems = [(".".join(map(str, e["loc"])), e["msg"], shortened(e["input"])) for e in error.errors()]
        told = "; ".join(f"{at + ': ' if at else ''}{message}, got {found}" for at, message, found in problems)
        raise InvalidInput(f"{where}: {told}") from error


def _value(kind: Any, values: Any, name: str, where: str) -> Any:
    return _typed(kind, _key(values, name, where), f"{where}: {name}")


def _record(kind: type[Record], values: Any, where: str) -> Record:
    """A dataclass from the keys it knows; other keys are ignored."""
    return cast(Record, _typed(kind, {f.name: _key(values, f.name, where) for f in fields(kind)}, where))  # type: ignore[arg-type]


def _target(stored: Json, name: str, wanted: str, where: str) -> Json:
    """A sub-config after checking the class it is for."""
    found: Json = _key(stored, name, where)
    target = str(_key(found, "_target_", f"{where}: {name}"))
    if target.rpartition(".")[2] != wanted:
        raise InvalidInput(f"{where}: {name} is for {target!r}, want {wanted}")
    return found


def _text(values: Any, where: str) -> TextConfig:
    """Text config; the rotary settings sit in `rope_scaling` + `rope_theta`, or all in `rope_parameters`, by version."""
    rope = _object(values, where).get("rope_parameters") or values.get("rope_scaling")
    if not isinstance(rope, Mapping) or rope.get("mrope_interleaved") is not True:
        raise InvalidInput(f"{where}: want interleaved M-RoPE, got {shortened(rope)}")
    return _record(TextConfig, {**values, **rope}, where)


def _expert(text: TextConfig, values: Any, where: str) -> TextConfig:
    """The language model's config where the expert's own says nothing else."""
    return _record(TextConfig, {**asdict(text), **_object(values, where)}, where)


def _action_space(stored: Json, where: str) -> ActionSpace:
    """Normalisation, and bounds and regularisers where they are told."""
    values = _target(stored, "action_space_cfg", "UnicycleAccelCurvatureActionSpace", where)
    where = f"{where}: action_space_cfg"
    if _key(values, "n_waypoints", where) != HORIZON:
        raise InvalidInput(f"{where}: n_waypoints {values['n_waypoints']}, want {HORIZON}")
    told = [name for i, name in enumerate(ACTION_SPACE) if i < 5 or name in values]
    return ActionSpace(**{ACTION_SPACE[name][0]: _value(ACTION_SPACE[name][1], values, name, where) for name in told})


def _history_bins(stored: Json, where: str) -> Bins:
    values = _target(stored, "hist_traj_tokenizer_cfg", "DeltaTrajectoryTokenizer", where)
    if values.get("predict_yaw"):
        raise InvalidInput(f"{where}: history tokens with yaw are of no released model")
    return _bins(values, ("ego_xyz_min", "ego_xyz_max"), tuple[Number, Number, Number], f"{where}: hist_traj_tokenizer_cfg")


def _future_bins(stored: Json, where: str) -> Bins:
    values = _target(stored, "traj_tokenizer_cfg", "DiscreteTrajectoryTokenizer", where)
    return _bins(values, ("dims_min", "dims_max"), tuple[Number, Number], f"{where}: traj_tokenizer_cfg")


def _bins(values: Json, ends: tuple[str, str], kind: Any, where: str) -> Bins:
    low, high = (_value(kind, values, name, where) for name in ends)
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise InvalidInput(f"{where}: {ends[0]} {low} must lie below {ends[1]} {high}")
    return Bins(_value(Annotated[int, Field(ge=2)], values, "num_bins", where), low, high)


def _views(values: Any, where: str) -> FlexConfig | TriplaneConfig | None:
    if values is None:
        return None
    kinds: dict[str, type[FlexConfig | TriplaneConfig]] = {"flex": FlexConfig, "triplane": TriplaneConfig}
    kind = _key(values, "kind", where)
    if kind not in list(kinds):
        raise InvalidInput(f"{where} of kind {kind!r}, want one of {', '.join(kinds)}")
    return _record(kinds[kind], values, where)
