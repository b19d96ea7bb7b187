"""The public reference beside ours: NVlabs/alpamayo, from a checkout of its own and on the same weights. Nothing of it is here.

What is timed is its own `sample_trajectories_from_data_with_vlm_rollout`, from ids and pixels to trajectories, with texts that
are told as ours are, and noise that is ours. Its dependencies (transformers, hydra, einops) are the caller's to install.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.bundle.folder import read_json
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.prompt import Prompt
from alpamayo_ros.model.sample import prefill, write
from alpamayo_ros.types import HORIZON, EngineFailure, InvalidInput, Observation, Request

MODULE = "alpamayo_r1.models.alpamayo_r1"
UNLOADED = ("freqs", "action_space.")
"""Constants that it stores beside its weights, and ours does not."""


class Public:
    """The reference with the weights of one of ours."""

    def __init__(self, checkout: Path, model: Alpamayo, folder: Path) -> None:
        """`checkout`: a clone of NVlabs/alpamayo; `folder`: the model's bundle, in the released layout.

        Raises InvalidInput for a folder that is none, EngineFailure where its weights are other ones than ours.
        """
        source = source_of(checkout)
        if str(source) not in sys.path:
            sys.path.insert(0, str(source))
        self.attention = "flash_attention_2" if find_spec("flash_attn") and model.device.type == "cuda" else "sdpa"
        self._config = model.config
        stored, backbone = read_json(folder / "config.json"), read_json(folder / "backbone.json")
        self._model = _built(import_module(MODULE).AlpamayoR1, model.config, stored, backbone, self.attention)
        _load(self._model, model)
        self._integrate = self._model.diffusion.sample
        self._logits: Sequence[Tensor] = ()

    def answer(self, prompt: Prompt, seen: Observation, request: Request, told: Sequence[int]) -> Tensor:
        """Trajectories (samples, 64, 3) behind told words, from the noise that an engine draws for this request.

        Raises EngineFailure for guidance and trajectories as tokens.
        """
        if request.guidance or request.trajectory == "tokens":
            raise EngineFailure("the public reference of R1 has neither guidance nor trajectories as tokens")
        device = next(self._model.parameters()).device
        images = {
            "pixel_values": prompt.images.patches.flatten(0, 1).to(device),
            "image_grid_thw": torch.tensor([(1, *prompt.images.grid)] * len(prompt.images.patches), device=device),
            "attention_mask": torch.ones(1, len(prompt.token_ids), dtype=torch.long, device=device),
        }
        ids = prompt.token_ids[None].to(device)
        if int(import_module("transformers").__version__.split(".")[0]) >= 5:
            images["mm_token_type_ids"] = (ids == self._config.image_token_id).int()
        xyz, rot = (torch.from_numpy(part.copy())[None, None].to(device) for part in (seen.history.xyz, seen.history.rot))
        data = {"tokenized_data": {"input_ids": ids, **images}, "ego_history_xyz": xyz, "ego_history_rot": rot}
        self._model.vlm.generate = self._telling(type(self._model.vlm).generate, told, ids.shape[1])
        noise = torch.randn(request.samples, HORIZON, 2, generator=torch.Generator().manual_seed(request.seed)).to(device)
        self._model.diffusion.sample = partial(from_noise, self._integrate, noise)
        dtype = getattr(torch, self._config.dtype)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):  # as its own script calls it
            found = self._model.sample_trajectories_from_data_with_vlm_rollout(
                data,
                num_traj_samples=request.samples,
                max_generation_length=len(told) + 1,
                diffusion_kwargs={"inference_step": request.steps or self._config.flow_steps},
            )
        trajectories: Tensor = found[0][0, 0]
        return trajectories

    def choices(self) -> list[int]:
        """What it would have written in place of each told word of its last answer, had it taken the likeliest."""
        return [_likeliest(logits[:1], self._config) for logits in self._logits]

    def _telling(self, generate: Callable[..., Any], told: Sequence[int], before: int) -> Callable[..., Any]:
        """`generate` of which the words are told; what it would have written it finds out all the same."""

        def forced(ids: Tensor, scores: Tensor) -> Tensor:
            place = min(ids.shape[1] - before, len(told) - 1)
            only = torch.full_like(scores, -torch.inf)
            only[:, told[place]] = 0.0
            return only

        def telling(*, logits_processor: Any, **asked: Any) -> Any:
            logits_processor.append(forced)
            written = generate(self._model.vlm, logits_processor=logits_processor, **asked)
            self._logits = written.logits[: len(told)]
            return written

        return telling


class Given(TorchFunctionMode):
    """`torch.randn` gives these numbers, of whatever shape and device they are."""

    def __init__(self, noise: Tensor) -> None:
        super().__init__()
        self._noise = noise

    def __torch_function__(self, called: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """As `TorchFunctionMode`."""
        return self._noise if called is torch.randn else called(*args, **(kwargs or {}))


def from_noise(integrate: Callable[..., Tensor], noise: Tensor, *, step_fn: Callable[..., Tensor], **asked: Any) -> Tensor:
    """Where an integrator ends that draws its noise by itself, and takes none. Its steps are its own, and no slower for it."""

    def step(**at: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            return step_fn(**at)

    with Given(noise):
        return integrate(step_fn=step, **asked)


def source_of(checkout: Path) -> Path:
    """Where a clone of NVlabs/alpamayo has its modules. Raises InvalidInput for another folder."""
    source = checkout / "src"
    if not (source / "alpamayo_r1").is_dir():
        raise InvalidInput(f"{checkout}: no src/alpamayo_r1 there: want a clone of NVlabs/alpamayo")
    return source


def own_choices(model: Alpamayo, prompt: Prompt, told: Sequence[int]) -> list[int]:
    """What our reference would have written in place of each told word, had it taken the likeliest."""
    found: list[int] = []

    def choose(logits: Tensor, index: int) -> Tensor:
        found.append(_likeliest(logits, model.config))
        return torch.full((1,), told[index], device=logits.device)

    write(model, prefill(model, prompt, len(told)), 1, choose, (), len(told))
    return found


def _likeliest(logits: Tensor, config: Config) -> int:
    """Of logits (1, V), without the tokens of trajectories."""
    allowed = logits[0].float().clone()
    allowed[config.traj_token_start : config.traj_token_start + config.traj_vocab_size] = -torch.inf
    return int(allowed.argmax())


def _built(kind: Any, config: Config, stored: Mapping[str, Any], backbone: Mapping[str, Any], attention: str) -> Any:
    """An object of its class, without the constructor, which asks the Hub for a processor that nobody needs here."""
    transformers, instantiate = import_module("transformers"), import_module("hydra.utils").instantiate
    dtype = getattr(torch, config.dtype)
    described = transformers.Qwen3VLConfig(**{**backbone, "dtype": config.dtype})
    described.text_config.vocab_size = stored["vocab_size"]
    described._attn_implementation = attention
    model = kind.__new__(kind)
    nn.Module.__init__(model)
    text = transformers.Qwen3VLTextConfig(
        **{**backbone["text_config"], **stored["expert_cfg"], "vocab_size": stored["vocab_size"]}
    )
    text._attn_implementation = attention
    with torch.device("meta"):
        model.vlm = transformers.Qwen3VLForConditionalGeneration(described).to(dtype)
        model.expert = transformers.Qwen3VLTextModel(text).to(dtype)
    del model.expert.embed_tokens
    model.action_space = instantiate(stored["action_space_cfg"])
    shape = model.action_space.get_action_space_dims()
    model.diffusion = instantiate(stored["diffusion_cfg"], x_dims=shape)
    width = text.hidden_size
    model.action_in_proj = instantiate(stored["action_in_proj_cfg"], in_dims=shape, out_dim=width).to(dtype)
    out = instantiate(stored["action_out_proj_cfg"], in_features=width, out_features=shape[-1])
    model.action_out_proj = out.to(dtype)
    said = {
        name: stored[name] for name in ("traj_token_start_idx", "traj_vocab_size", "tokens_per_future_traj", "traj_token_ids")
    }
    model.config = SimpleNamespace(expert_non_causal_attention=True, **said)
    model.hist_traj_tokenizer = instantiate(stored["hist_traj_tokenizer_cfg"])
    model.hist_token_start_idx = config.traj_token_start + config.future_bins.num_bins
    start = config.token_ids["future_start"]
    model.tokenizer = SimpleNamespace(pad_token_id=config.eos_token_id, convert_tokens_to_ids=lambda _: start)
    return model.eval()


def _load(public: Any, model: Alpamayo) -> None:
    """Give it our weights, shared where they lie."""
    missing, unexpected = public.load_state_dict(model.state_dict(), strict=False, assign=True)
    if left := [name for name in (*missing, *unexpected) if not any(known in name for known in UNLOADED)]:
        raise EngineFailure(f"the public reference has other weights: {len(left)}, such as {', '.join(left[:3])}")
    for name, module in list(public.named_modules()):
        if any(buffer.is_meta for buffer in module.buffers(recurse=False)):  # frequencies of rotary embeddings, in no file
            asked = module.config if hasattr(module, "config") else 2 * len(module.inv_freq)
            public.set_submodule(name, type(module)(asked))
    public.to(model.device)
