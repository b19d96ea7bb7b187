"""A debug network, and one scene's examples for it."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch
from model.nano import BUNDLE as NANO

from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.profile import read_rig
from alpamayo_ros.simulation.data.samples import SceneSamples, scene_samples
from alpamayo_ros.simulation.suites import SceneId
from alpamayo_ros.training.batch import Batch, batch_of
from alpamayo_ros.training.dataset.world import scene_examples
from alpamayo_ros.training.encoding import Codec, Encoded, encoded
from alpamayo_ros.training.example import Example
from alpamayo_ros.training.sizes import SIZES, begin_bundle, new_model, open_codec


@cache
def debug_bundle() -> Path:
    """A folder that holds everything but weights."""
    folder = Path(mkdtemp(prefix="alpamayo_debug_")) / "debug"
    begin_bundle(folder, NANO, SIZES["debug"])
    return folder


@cache
def debug_codec() -> Codec:
    return open_codec(debug_bundle())


def debug_model(seed: int = 0) -> Alpamayo:
    torch.set_num_threads(1)
    return new_model(debug_codec(), seed)


@cache
def scene() -> SceneSamples:
    return scene_samples(SceneId("red_light", 3), read_rig("seven_camera"), debug_codec().profile, 14.0)


@cache
def examples() -> tuple[Example, ...]:
    return tuple(scene_examples(scene(), debug_codec().profile))


@cache
def lessons() -> tuple[Encoded, ...]:
    return tuple(encoded(example, debug_codec()) for example in examples())


def batch(*which: int) -> Batch:
    return batch_of([lessons()[i] for i in which], debug_codec().config.token_ids["future_start"])
