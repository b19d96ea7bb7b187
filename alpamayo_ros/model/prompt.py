"""The prompts of Alpamayo-R1 and 1.5, from an observation to token ids, exactly as released.

system, user and assistant in Qwen's chat format; the user's turn holds the images camera by camera, oldest first, the ego
history, in 1.5 the route, and what to do; the assistant's turn is begun. Sources: NVlabs/alpamayo and NVlabs/alpamayo1.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from math import prod
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.model.pixels import patches
from alpamayo_ros.model.tokens import Tokenizer, history_tokens, plain, signal_tokens
from alpamayo_ros.model.vision import Block, Images, image_blocks
from alpamayo_ros.profile import InputProfile, Pruning
from alpamayo_ros.types import CameraFrame, InvalidInput, Navigation, Observation, role_index

Mode = Literal["reason", "act", "ask"]  # reason, then a trajectory; a trajectory at once; answer a question
Piece = str | Sequence[int]  # text, or ids

SYSTEM = "You are a driving assistant that generates safe and accurate actions."

DISPLAY_NAMES = ("Front left", "Front", "Front right", "Rear left", "Rear", "Rear right", "Front telephoto")
"""What Alpamayo-1.5 calls each "camera", by role index."""


class Prompt(NamedTuple):
    """What the network reads."""

    token_ids: Tensor  # (L,) long
    images: Images
    blocks: list[Block]  # of the image placeholders among the ids, in order
    pruning: Pruning = Pruning(prefill_keep=1.0, decode_keep=1.0)


def encode(
    observation: Observation, profile: InputProfile, tokenizer: Tokenizer, config: Config, mode: Mode, question: str = ""
) -> Prompt:
    """An observation as the network reads it.

    Optional cameras that are absent are left out. A navigation command is rendered where the profile takes navigation as
    text; a profile that takes none never sees it, and without a command there is no route. A question stands in place of
    history, route and task. Raises InvalidInput for a camera or signal that the profile needs, images of another size,
    a history of another length, and questions or road names with special tokens or control characters.
    """
    images = observed_images(observation, profile, config)
    blocks = image_blocks(images, config)
    ids = prompt_ids(observation, blocks, profile, tokenizer, config, mode, question)
    return Prompt(ids, images, blocks, profile.pruning)


def prompt_ids(
    observation: Observation,
    blocks: Sequence[Block],
    profile: InputProfile,
    tokenizer: Tokenizer,
    config: Config,
    mode: Mode,
    question: str = "",
) -> Tensor:
    """Ids (L,) of an observation whose images take these blocks. Raises InvalidInput as `encode` does, but for images."""
    if (mode == "ask") != bool(question.strip()):
        raise InvalidInput(f"mode {mode!r} with the question {question!r}: want a question in mode 'ask', and there only")
    if mode == "ask":
        task = _span(tokenizer, "question", plain(question, "question", allowed="\n"))
    else:
        task = [*_ego(observation, profile, tokenizer, config), *_route(observation, profile, tokenizer)]
        task.append(_sentence(mode, profile))
    begun = {"reason": "<|cot_start|>", "act": "<|traj_future_start|>", "ask": "<|answer_start|>"}[mode]
    im_start, im_end = [tokenizer.id("<|im_start|>")], [tokenizer.id("<|im_end|>")]
    turns = [
        *(im_start, f"system\n{SYSTEM}", im_end, "\n"),
        *(im_start, "user\n", *_scene(blocks, tokenizer, config), *task, im_end, "\n"),
        *(im_start, "assistant\n", [tokenizer.id(begun)]),
    ]
    return torch.tensor(joined(turns, tokenizer))


def joined(pieces: Iterable[Piece], tokenizer: Tokenizer) -> list[int]:
    """Ids of texts and ids in a row. Neighbouring texts are one text: words do not end where a piece does."""
    ids: list[int] = []
    for is_text, run in groupby(pieces, key=lambda piece: isinstance(piece, str)):
        parts = list(run)
        ids += tokenizer.encode("".join(map(str, parts))) if is_text else [int(token) for part in parts for token in part]
    return ids


def without_route(prompt: Prompt, tokenizer: Tokenizer) -> Prompt:
    """The prompt as it would be without navigation (the unguided context of guidance); one without a route as it is."""
    ids = prompt.token_ids.tolist()
    start, end = tokenizer.id("<|route_start|>"), tokenizer.id("<|route_end|>")
    if start not in ids:
        return prompt
    return prompt._replace(token_ids=torch.tensor(ids[: ids.index(start)] + ids[ids.index(end) + 1 :]))


def navigation_text(navigation: Navigation) -> str:
    """Words for a navigation command: "Turn left onto De La Cruz Boulevard in 40m". Raises InvalidInput for its road name.

    A route in free words stands as it is. "Continue straight" stands alone. The released examples know it and turns; the
    other maneuvers are worded alike.
    """
    if navigation.text:
        return plain(navigation.text, "navigation text")
    if navigation.maneuver == "continue":
        return "Continue straight"
    words = navigation.maneuver.replace("_", " ").capitalize()
    road = f" onto {plain(navigation.road_name, 'road name')}" if navigation.road_name else ""
    return f"{words}{road} in {round(navigation.distance_m)}m"


def observed_images(observation: Observation, profile: InputProfile, config: Config) -> Images:
    """Patches of the frames that a profile takes. Raises InvalidInput as `observed_frames` does."""
    frames = observed_frames(observation, profile)
    roles = list(dict.fromkeys(frame.role for frame in frames))
    return named_images(roles, profile, config)._replace(patches=patches([frame.image for frame in frames], config))


def observed_frames(observation: Observation, profile: InputProfile) -> list[CameraFrame]:
    """The frames that a profile takes, camera by camera in the order of role indices, oldest first.

    Raises InvalidInput for a required camera that is absent, and for frames of another number or size.
    """
    count = len(profile.frame_offsets_ms)
    taken: list[CameraFrame] = []
    for role in (role for role, need in profile.cameras.items() if need == "required" or observation.frames.get(role)):
        frames = observation.frames.get(role, ())
        shapes = [frame.image.shape for frame in frames]
        if shapes != [profile.image_shape] * count:
            wanted = f"profile {profile.name} wants {count} frames of {profile.image_shape}"
            raise InvalidInput(f"{role}: {wanted}, the observation has {len(shapes)} of {sorted(set(shapes))}")
        taken += frames
    return taken


def named_images(roles: Sequence[str], profile: InputProfile, config: Config) -> Images:
    """The images of an observation with these cameras by name, without their pixels."""
    times = len(profile.frame_offsets_ms)
    grid = (profile.image_height // config.vision.patch_size, profile.image_width // config.vision.patch_size)
    cameras = tuple(role_index(role) for role in roles for _ in range(times))
    return Images(torch.empty(len(cameras), 0), grid, cameras, tuple(range(times)) * len(roles))


def _span(tokenizer: Tokenizer, name: str, content: Piece) -> list[Piece]:
    """Content between `<|name_start|>` and `<|name_end|>`."""
    return [[tokenizer.id(f"<|{name}_start|>")], content, [tokenizer.id(f"<|{name}_end|>")]]


def _scene(blocks: Sequence[Block], tokenizer: Tokenizer, config: Config) -> Iterator[Piece]:
    """Placeholders of the images; Alpamayo-1.5 names each camera once and numbers its frames."""
    named = None
    for block in blocks:
        if config.camera_labels and block.camera is not None and block.camera != named:
            named = block.camera
            yield f"{DISPLAY_NAMES[named]} camera: "
        if config.frame_labels and block.step is not None:
            yield f"frame {block.step} "
        yield from _span(tokenizer, "vision", [config.image_token_id] * prod(block.grid))


def _ego(observation: Observation, profile: InputProfile, tokenizer: Tokenizer, config: Config) -> list[Piece]:
    """Past motion, and behind it in the same span the ego signals that the profile declares."""
    ids = history_tokens(observation.history.xyz, config)
    if profile.ego_signals:
        ids += signal_tokens(observation.signals, profile.ego_signals, config)
    return _span(tokenizer, "traj_history", ids)


def _route(observation: Observation, profile: InputProfile, tokenizer: Tokenizer) -> list[Piece]:
    if profile.navigation == "none" or observation.navigation is None:
        return []
    return _span(tokenizer, "route", navigation_text(observation.navigation))


def _sentence(mode: Mode, profile: InputProfile) -> str:
    tasks = ["output the future trajectory"]
    if mode == "reason":
        meta_actions = ["output meta actions"] if profile.meta_actions else []
        tasks = ["output the chain-of-thought reasoning of the driving process", *meta_actions, *tasks]
    return ", then ".join(tasks) + "."
