"""Where a model's weights come from, in one word. Imports nothing heavy: engines without a bundle say it too."""

from typing import Literal

Weights = Literal["none", "untrained", "trained", "released"]
