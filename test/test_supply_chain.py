"""The locked requirements are the pins the tests ran with, each with its hashes; the bill of materials lists exactly them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text()
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, tuple[str, set[str]]]:
    """Version and hashes by name."""
    entries = re.split(r"\n(?=[A-Za-z])", LOCK)
    found = {
        normal(match[1]): (match[2], set(re.findall(r"sha256:([0-9a-f]{64})", e))) for e in entries if (match := PIN.match(e))
    }
    assert len(found) > 20
    return found


def test_every_locked_file_has_a_hash_and_comes_from_wherever_the_user_says() -> None:
    assert all(hashes for _, hashes in locked().values())
    assert not re.search(r"https?://|--index|--find-links|--trusted-host| @ ", LOCK)


def test_the_locked_versions_are_those_of_the_requirements() -> None:
    pins: dict[str, set[str]] = {}
    for name, version in PIN.findall((ROOT / "requirements.txt").read_text()):
        pins.setdefault(normal(name), set()).add(version)
    shared = {name: version for name, (version, _) in locked().items() if name in pins}
    assert {"numpy", "opencv-python-headless", "simplejpeg", "pydantic", "pyyaml", "safetensors", "tokenizers"} <= shared.keys()
    assert {name: version for name, version in shared.items() if version not in pins[name]} == {}


def test_the_vehicle_gets_no_tool_of_ours() -> None:
    assert (
        not {"pytest", "mypy", "ruff", "ray", "transformers", "grpcio", "highway-env", "rerun-sdk", "torch"} & locked().keys()
    )


def test_the_bill_of_materials_lists_what_is_locked() -> None:
    bom: dict[str, Any] = json.loads((ROOT / "docs" / "sbom.cdx.json").read_text())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    listed = {normal(c["name"]): (c["version"], {h["content"] for h in c["hashes"]}) for c in bom["components"]}
    assert listed == locked()
    assert all(c["purl"] == f"pkg:pypi/{c['name']}@{c['version']}" for c in bom["components"])
