"""The reference engine: a model bundle run by `model.sample`, as plain as it can be. Every faster engine is held against it."""

from __future__ import annotations

from pathlib import Path

import torch

from alpamayo_ros.bundle.config import check_profile, read_config
from alpamayo_ros.bundle.folder import read_bundle
from alpamayo_ros.cameras import Camera, base_from_optical, nominal_camera
from alpamayo_ros.engine.contract import Weights
from alpamayo_ros.engine.weights import draw_weights, load_weights
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.prompt import Mode, encode
from alpamayo_ros.model.sample import answer, sample
from alpamayo_ros.model.tokens import read_tokenizer
from alpamayo_ros.model.views.triplane import Triplane, sampling_grids
from alpamayo_ros.profile import Rig, read_rig
from alpamayo_ros.types import F64, CameraFrame, EngineFailure, InvalidInput, ModelOutput, Observation, Request, role_index


class EagerEngine:
    """A bundle on this machine's accelerator, or on the CPU where there is none, in the dtype of its weights."""

    def __init__(self, folder: Path) -> None:
        """Open a bundle. Raises InvalidInput for one that is incomplete or does not fit together."""
        bundle = read_bundle(folder)
        bundle.require_complete()
        self.weights: Weights = bundle.weights
        self._profile = bundle.profile
        self._config = read_config(folder)
        check_profile(bundle.profile, self._config)
        self._tokenizer = read_tokenizer(folder, self._config)
        self._model = open_model(folder, device())

    def add_frame(self, frame: CameraFrame) -> None:
        """Ignored: the reference looks at every image when it is asked."""

    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        """Actions and words for one observation. Raises EngineFailure, InvalidInput."""
        mode: Mode = "act" if request.reasoning == "none" else "reason"
        prompt = encode(observation, self._profile, self._tokenizer, self._config, mode)
        try:
            return sample(self._model, self._tokenizer, prompt, request)
        except torch.OutOfMemoryError as error:
            raise EngineFailure(f"out of memory for {request.samples} samples: {error}") from error

    def ask(self, observation: Observation, question: str, request: Request) -> str:
        """The model's answer to a question about an observation. Raises InvalidInput."""
        prompt = encode(observation, self._profile, self._tokenizer, self._config, "ask", question)
        return answer(self._model, self._tokenizer, prompt, request)

    def reset(self, epoch: int) -> None:
        """Nothing is kept between observations."""

    def close(self) -> None:
        """Give back the device's memory."""
        self._model.to("meta")


def open_model(folder: Path, where: torch.device) -> Alpamayo:
    """The network of a complete bundle with its weights, ready to run. Raises InvalidInput."""
    bundle, config = read_bundle(folder), read_config(folder)
    with torch.device("meta"):
        model = Alpamayo(config)
    dtype = getattr(torch, config.dtype, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InvalidInput(f"{folder}: model_dtype {config.dtype!r} is no floating-point type")
    if bundle.source is not None and bundle.source.seed is not None:
        draw_weights(model, bundle.source.seed, where, dtype)
    else:
        load_weights(model, folder, where, dtype)
    if isinstance(model.views, Triplane):
        model.views.calibrate(sampling_grids(model.views.config, rig_cameras(read_rig(str(folder / "rig.yaml")))))
    return model.eval().requires_grad_(requires_grad=False)


def rig_cameras(rig: Rig) -> dict[int, tuple[Camera, F64]]:
    """By role index, a nominal camera and its base_from_optical: what a triplane model looks through."""
    return {role_index(role): (nominal_camera(c), base_from_optical(c.mount)) for role, c in rig.cameras.items()}


def device() -> torch.device:
    """Where engines run. On a CPU by one thread: two cores gain nothing on small models and stall whoever shares them."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    torch.set_num_threads(1)
    return torch.device("cpu")
