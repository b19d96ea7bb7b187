"""Alpamayo-R1 and 1.5: vision, language model and action expert under the names of the released checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from alpamayo_ros.bundle.config import Config, FlexConfig
from alpamayo_ros.model.expert import ActionIn
from alpamayo_ros.model.language import Cache, Context, Decoder, Language, Memory
from alpamayo_ros.model.views.flex import Flex
from alpamayo_ros.model.views.triplane import Triplane
from alpamayo_ros.model.vision import Images, Scene, Vision


class VisionAndLanguage(nn.Module):
    """The two towers of the backbone."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.visual = Vision(config.vision)
        self.language_model = Language(config.text, config.vocab_size)


class Backbone(nn.Module):
    """Qwen3-VL, with its head of logits."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.model = VisionAndLanguage(config)
        self.lm_head = nn.Linear(config.text.hidden_size, config.vocab_size, bias=False)


class Alpamayo(nn.Module):
    """The whole network. Each method is one stage of the path from pixels to a velocity of the flow."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.vlm = Backbone(config)
        self.expert = Decoder(config.expert)
        self.action_in_proj = ActionIn(config.action_in, config.expert.hidden_size)
        self.action_out_proj = nn.Linear(config.expert.hidden_size, len(config.future_bins.low))
        self.views: Flex | Triplane | None = None  # none: each image by itself, as released
        if isinstance(config.views, FlexConfig):
            self.views = Flex(config.views, config.vision, config.text.hidden_size)
        elif config.views is not None:
            self.views = Triplane(config.views, config.vision, config.text.hidden_size)

    @property
    def device(self) -> torch.device:
        return self.vlm.lm_head.weight.device

    def see(self, images: Images) -> Scene:
        """Tokens of the scene, in the order of the prompt's placeholders; several observations' one after another."""
        tokens, deepstack = self.vlm.model.visual(images.patches.to(self.device), images.grid)
        return self.scene(tokens, deepstack, images)

    def scene(self, tokens_nTD: Tensor, deepstack: tuple[Tensor, ...], images: Images) -> Scene:
        """The same from what the vision tower makes of every image."""
        if self.views is not None:
            tokens_nTD = self.views(tokens_nTD, images)
        return Scene(tokens_nTD.flatten(0, 1), tuple(feature.flatten(0, 1) for feature in deepstack))

    def cache(self, batch: int, capacity: int) -> Cache:
        """An empty cache for `capacity` tokens."""
        text, like = self.config.text, self.vlm.lm_head.weight
        shape = (text.num_hidden_layers, batch, text.num_key_value_heads, capacity, text.head_dim)
        return Cache(like.new_zeros(shape), like.new_zeros(shape))

    def read(
        self, token_ids: Tensor, positions_3BL: Tensor, memory: Memory, mask: Tensor | None, scene: Scene | None = None
    ) -> Tensor:
        """Hidden states (B, L, D) of new tokens (B, L), whose image placeholders become the scene's tokens."""
        language = self.vlm.model.language_model
        x_BLD = language.embed_tokens(token_ids)
        added: list[Tensor] = []
        if scene is not None:
            is_image = (token_ids == self.config.image_token_id)[..., None]
            x_BLD = x_BLD.masked_scatter(is_image, scene.tokens.to(x_BLD.dtype))
            added = [torch.zeros_like(x_BLD).masked_scatter(is_image, feature.to(x_BLD.dtype)) for feature in scene.deepstack]
        hidden: Tensor = language(x_BLD, positions_3BL, memory, mask, added)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., vocabulary) float32."""
        return self.vlm.lm_head(hidden).float()

    def velocity(self, actions: Tensor, t: Tensor, positions_3BL: Tensor, context: Context, mask: Tensor | None) -> Tensor:
        """Velocity (B, 64, 2) float32 of the flow at actions (B, 64, 2) and t (B,).

        `mask` (B or 1, 1, 1 or 64, S + 64) is True where actions may look, None: everywhere; they all see each other.
        """
        hidden = self.expert(self.action_in_proj(actions, t), positions_3BL, context, mask)
        return self.action_out_proj(hidden).float()
