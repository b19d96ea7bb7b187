"""What runs on an accelerator alone: `make gpu-test`."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def gpu() -> torch.device:
    """The accelerator; without one these tests are skipped."""
    if not torch.cuda.is_available():
        pytest.skip("no accelerator on this machine")
    return torch.device("cuda")
