"""A bundle on this machine's accelerator as CUDA graphs; on the CPU the same code without graphs.

What is asked for seldom (guidance, trajectories as tokens, pruned prompts, questions) goes the reference's way, on the same
weights.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alpamayo_ros.bundle.config import open_bundle
from alpamayo_ros.engine.eager import claim_device, open_model, out_of_memory_told
from alpamayo_ros.engine.fast.engine import FastEngine
from alpamayo_ros.engine.fast.network import Network
from alpamayo_ros.engine.graphed.network import GraphedNetwork
from alpamayo_ros.model.prompt import Mode, encode
from alpamayo_ros.model.sample import answer, sample
from alpamayo_ros.model.tokens import read_tokenizer
from alpamayo_ros.types import ModelOutput, Observation, Request


class GraphedEngine(FastEngine):
    """An engine for one bundle."""

    def __init__(self, folder: Path, watched: Callable[[GraphedNetwork], Network] = lambda network: network) -> None:
        """Open a bundle. Raises InvalidInput for one that is incomplete or does not fit together.

        `watched`: what stands between the engine and its network, such as a stopwatch.
        """
        bundle, config = open_bundle(folder)
        self.model = open_model(bundle, config, claim_device())
        network = GraphedNetwork(
            self.model, bundle.profile.image_height, bundle.profile.image_width, len(bundle.profile.cameras)
        )
        head, self.dtype = self.model.vlm.lm_head.weight, self.model.vlm.lm_head.weight.dtype
        tokenizer = read_tokenizer(folder, config)
        super().__init__(bundle, config, tokenizer, watched(network), head.device, self.as_the_reference)

    def as_the_reference(self, observation: Observation, request: Request) -> ModelOutput:
        """What the reference answers on these very weights. Raises EngineFailure, InvalidInput."""
        mode: Mode = "act" if request.reasoning == "none" else "reason"
        prompt = encode(observation, self._profile, self._tokenizer, self._config, mode)
        return sample(self.model, self._tokenizer, prompt, request, self.told)

    def ask(self, observation: Observation, question: str, request: Request) -> str:
        """The model's answer to a question about an observation. Raises EngineFailure, InvalidInput."""
        prompt = encode(observation, self._profile, self._tokenizer, self._config, "ask", question)
        with out_of_memory_told("a question"):
            return answer(self.model, self._tokenizer, prompt, request)
