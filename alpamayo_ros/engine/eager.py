"""The reference engine: a model bundle run by `model.sample`, as plain as it can be. Every faster engine is held against it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from alpamayo_ros.bundle.config import Config, open_bundle
from alpamayo_ros.bundle.folder import Bundle
from alpamayo_ros.cameras import Camera, base_from_optical, nominal_camera
from alpamayo_ros.engine.contract import Weights
from alpamayo_ros.engine.weights import draw_weights, load_weights
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.prompt import Mode, encode
from alpamayo_ros.model.sample import answer, sample
from alpamayo_ros.model.tokens import read_tokenizer
from alpamayo_ros.model.views.triplane import Triplane, sampling_grids
from alpamayo_ros.profile import Rig, read_rig
from alpamayo_ros.types import F64, CameraFrame, EngineFailure, ModelOutput, Observation, Request, role_index


class EagerEngine:
    """A bundle on this machine's accelerator, or on the CPU where there is none, in the dtype of its weights."""

    def __init__(self, folder: Path) -> None:
        """Open a bundle. Raises InvalidInput for one that is incomplete or does not fit together."""
        bundle, self._config = open_bundle(folder)
        self.weights: Weights = bundle.weights
        self._profile = bundle.profile
        self._tokenizer = read_tokenizer(folder, self._config)
        self._model = open_model(bundle, self._config, claim_device())

    def add_frame(self, frame: CameraFrame) -> None:
        """Ignored: the reference looks at every image when it is asked."""

    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        """Actions and words for one observation. Raises EngineFailure, InvalidInput."""
        mode: Mode = "act" if request.reasoning == "none" else "reason"
        prompt = encode(observation, self._profile, self._tokenizer, self._config, mode)
        with out_of_memory_told(f"{request.samples} samples"):
            return sample(self._model, self._tokenizer, prompt, request)

    def ask(self, observation: Observation, question: str, request: Request) -> str:
        """The model's answer to a question about an observation. Raises EngineFailure, InvalidInput."""
        prompt = encode(observation, self._profile, self._tokenizer, self._config, "ask", question)
        with out_of_memory_told("a question"):
            return answer(self._model, self._tokenizer, prompt, request)

    def reset(self, epoch: int) -> None:
        """Nothing is kept between observations."""

    def close(self) -> None:
        """Give back the device's memory."""
        self._model.to("meta")


@contextmanager
def out_of_memory_told(wanted: str) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise EngineFailure(f"out of memory for {wanted}: {error}") from error


def open_model(bundle: Bundle, config: Config, where: torch.device) -> Alpamayo:
    """The network of a complete bundle with its weights, ready to run. Raises InvalidInput."""
    with torch.device("meta"):
        model = Alpamayo(config)
    dtype: torch.dtype = getattr(torch, config.dtype)
    if bundle.source is not None and bundle.source.seed is not None:
        draw_weights(model, bundle.source.seed, where, dtype)
    else:
        load_weights(model, bundle.folder, where, dtype)
    if isinstance(model.views, Triplane):
        model.views.calibrate(sampling_grids(model.views.config, rig_cameras(read_rig(str(bundle.folder / "rig.yaml")))))
    return model.eval().requires_grad_(requires_grad=False)


def rig_cameras(rig: Rig) -> dict[int, tuple[Camera, F64]]:
    """By role index, a nominal camera and its base_from_optical: what a triplane model looks through."""
    return {role_index(role): (nominal_camera(c), base_from_optical(c.mount)) for role, c in rig.cameras.items()}


def claim_device() -> torch.device:
    """Where engines run. Where that is the CPU, this process computes with one thread from then on: two cores gain nothing on
    small models and stall whoever shares them."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    torch.set_num_threads(1)
    return torch.device("cpu")
