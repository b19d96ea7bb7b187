from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulation.alpasim import standin

# Before the tests are imported: they import what imports it.
_FOLDER = Path(tempfile.mkdtemp(prefix="alpasim_grpc_"))
atexit.register(shutil.rmtree, _FOLDER)
standin.install(_FOLDER)


@pytest.fixture(scope="module", autouse=True)
def _own_engines_are_found() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        yield
