"""A debug network, and one scene's examples for it."""

import atexit
import json
from functools import cache
from itertools import count
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import torch
from model.nano import BUNDLE as NANO

from alpamayo_ros.evaluation.openloop.provenance import file_sha256
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.profile import read_rig
from alpamayo_ros.simulation.data.dataset import VERSION
from alpamayo_ros.simulation.data.samples import SceneSamples, scene_samples
from alpamayo_ros.simulation.data.shards import write_shard
from alpamayo_ros.simulation.suites import SceneId
from alpamayo_ros.training.batch import Batch, batch_of
from alpamayo_ros.training.checkpoints import backbone_sha256
from alpamayo_ros.training.dataset.world import scene_examples
from alpamayo_ros.training.encoding import Codec, Encoded, encoded
from alpamayo_ros.training.example import Example
from alpamayo_ros.training.export import export
from alpamayo_ros.training.fit import fit
from alpamayo_ros.training.processes import ALONE
from alpamayo_ros.training.run import Run
from alpamayo_ros.training.settings import Learned, Optimisation
from alpamayo_ros.training.sizes import SIZES, begin_bundle, new_model, open_codec
from alpamayo_ros.training.student import Student


def _own_folder() -> Path:
    """A folder for as long as this process lives: what is made once is used by tests of many files."""
    folder = Path(mkdtemp(prefix="alpamayo_lessons_"))
    atexit.register(rmtree, folder)
    return folder


@cache
def debug_bundle() -> Path:
    """A folder that holds everything but weights."""
    folder = _own_folder() / "debug"
    begin_bundle(folder, NANO, SIZES["debug"])
    return folder


@cache
def debug_codec() -> Codec:
    return open_codec(debug_bundle())


def weighted_bundle(out: Path) -> Path:
    """A bundle with drawn weights and an expert that fits them."""
    model = debug_model().to(torch.bfloat16)
    export(model, debug_bundle(), out, backbone_sha256(model), "# made up\n")
    return out


def scene_data(folder: Path) -> Path:
    """The scene as a data set."""
    write_shard(folder / "shard.tar", [scene()])
    recipe = {"profile": debug_codec().profile.model_dump(mode="json"), "split": "train"}
    shard = {"file": "shard.tar", "sha256": file_sha256(folder / "shard.tar"), "samples": len(examples())}
    index = {"version": VERSION, "recipe": recipe, "figures": {}, "shards": [shard]}
    (folder / "index.json").write_text(json.dumps(index))
    return folder


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


@cache
def schooled() -> Alpamayo:
    """A network that has learned a few sentences, so that it asks for trajectories."""
    student = Student(debug_model(), Learned(("language",), words=1.0, trajectory=1.0))
    settings = Optimisation(steps=50, batch=1, learning_rate=1e-2, save_every=50)
    run = Run(_own_folder() / "run", {"stage": "test"})
    fit(student, lambda begin: (batch(i % 2) for i in count(begin)), settings, run, ALONE)
    return student.model
