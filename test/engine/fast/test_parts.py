"""The contract's law holds for an engine whose parts run in ONNX Runtime, too."""

from pathlib import Path

import torch
from engine.contract_checks import check_hints_never_matter
from engine.tensorrt.test_network import engine_of, parts_of
from engine.test_eager import released_bundle, seen_by

from alpamayo_ros.engine.tensorrt.export import export
from alpamayo_ros.engine.tensorrt.sessions import OnnxSession


def test_hints_never_matter(tmp_path: Path) -> None:
    folder = released_bundle(tmp_path / "bundle", "r1")
    export(parts_of(folder), folder / "onnx", torch.float32)
    sessions = {path.stem: OnnxSession(path) for path in (folder / "onnx").glob("*.onnx")}
    check_hints_never_matter(lambda: engine_of(folder, sessions), [seen_by(folder)], examples=2)
