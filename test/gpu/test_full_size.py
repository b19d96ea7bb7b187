"""The figures of docs/performance.md for a network of the released size, weights drawn: written, not judged by the clock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gpu.full_size import full_size_bundle
from model.released import Generation

from alpamayo_ros.engine import pace_page
from alpamayo_ros.engine.pace import ON_GPU, bench_pace

pytestmark = pytest.mark.gpu

OUT = Path("out/gpu")
MOST_BYTES = 26e9
TRACES = Path(__file__).parents[3] / "shared" / "data" / "ar1_traces" / "consecutive_windows.json"
"""Real ones of the released model, where they are: their acceptance is a case of its own."""


@pytest.mark.parametrize("generation", ["r1", "1.5"])
def test_the_released_size_fits_and_its_pace_is_written_down(
    generation: Generation, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    given = request.config.getoption("--reference", default=None)
    checkout = Path(given) if given and generation == "r1" else None  # the one that it is a reference for
    traces = TRACES if TRACES.exists() else None
    found = bench_pace(full_size_bundle(tmp_path / "bundle", generation), ON_GPU[0], checkout=checkout, traces=traces)
    out = OUT / generation
    out.mkdir(parents=True, exist_ok=True)
    (out / "pace.json").write_text(json.dumps(found, indent=1) + "\n")
    pace_page.write(found, out)
    assert found["dtype"] == "bfloat16"
    assert found["weights"] == "untrained"
    assert found["peak_memory_bytes"] <= MOST_BYTES
    if traces is None:
        pytest.skip(f"written but for the pace at the acceptance of real traces: no {TRACES}")
