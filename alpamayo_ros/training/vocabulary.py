"""The small vocabulary of `ar1_nano`: byte pairs of the sentences that our driving world speaks and of the prompts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

SIZE = 512
"""Words of the vocabulary: 6 special tokens, 256 bytes, and the rest merges."""

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
"""Special tokens that a language model has before the driving ones are added, as Qwen names them."""

PROMPTS = (
    "system\nYou are a driving assistant that generates safe and accurate actions.",
    "user\n",
    "assistant\n",
    "output the chain-of-thought reasoning of the driving process, then output meta actions, ",
    "then output the future trajectory.",
    "output the future trajectory.",
)
DECISIONS = (
    "Keep speed",
    "Accelerate to the speed limit",
    "Keep distance to the lead vehicle",
    "Stop behind the lead vehicle",
    "Slow down for the curve",
    "Search for a gap to merge",
    "Accelerate to pass the slower vehicle",
    "Yield to the pedestrian",
    "Stop at the red light",
    "Stop at the stop sign",
    "Keep lane",
    "Merge into the main road",
    "Nudge to the left",
    "Nudge to the right out of the lane",
    "Change to the left lane",
    "Change to the right lane",
    "Pull over to the curb",
    "Turn left at the intersection",
    "Turn right at the junction",
    "Abort the lane change",
)
CAUSES = (
    "since the road ahead is clear",
    "since it is braking",
    "because the traffic light is green",
    "because the traffic light ahead is yellow",
    "because a pedestrian is crossing at the crosswalk",
    "since a parked car blocks the lane",
    "because construction cones close the right lane",
    "since a vehicle cuts in from the left",
    "because the lead vehicle is stopped",
    "due to the sharp left curve ahead",
    "since the lane ends",
    "to follow the route",
)
META_ACTIONS = (
    "maintain speed",
    "gentle accelerate",
    "strong decelerate",
    "stop",
    "reverse",
    "go straight",
    "sharp steer left",
)
MANEUVERS = ("Turn left", "Turn right", "Keep left", "Keep right", "U turn", "Pull over", "Continue straight")


def sentences() -> Iterator[str]:
    """What the vocabulary has to say briefly: prompts, traces, meta-actions and navigation."""
    yield from PROMPTS * 40  # read at every plan
    yield from (f"{decision} {cause}." for decision, cause in product(DECISIONS, CAUSES))
    yield from (f"{first}, {then}" for first, then in product(META_ACTIONS, META_ACTIONS))
    yield from (f"{maneuver} in {metres}m" for maneuver, metres in product(MANEUVERS, range(0, 200, 7)))


def train_vocabulary() -> tokenizers.Tokenizer:
    """The vocabulary, the same every time: lossless on any text, short on driving sentences."""
    vocabulary = tokenizers.Tokenizer(models.BPE())
    vocabulary.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    vocabulary.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=SIZE, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False)
    vocabulary.train_from_iterator(sentences(), trainer)
    return vocabulary
