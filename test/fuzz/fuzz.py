"""Fuzz one target with atheris: `python test/fuzz/fuzz.py TARGET --runs N`; the last line on stdout is one JSON object.

atheris is no requirement of this package: install it into an environment of its own that also sees ours (docs/fuzz.md). A crash
is kept as a file; the run goes on, and ends with status 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parents[1])  # as pytest has it: this folder would hide the package of its own name


def main() -> int:
    """Fuzz in a process of its own, so that the end of that process is counted, too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"), help="folder for inputs that crash")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.here:
        fuzz(given.target, given.runs, given.seed, given.out)
    done = subprocess.run([sys.executable, *sys.argv, "--here"], stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    report = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {"target": given.target, "crashes": 1}
    print(json.dumps(report | {"status": done.returncode}))
    return 1 if report["crashes"] or done.returncode else 0


def fuzz(target: str, runs: int, seed: int, out: Path) -> None:
    """Run the fuzzer until it has executed the target this often; does not return."""
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

    with atheris.instrument_imports(include=["alpamayo_ros"]):
        from fuzz.targets import TARGETS
    one_input, seeds = TARGETS[target]
    said: dict[str, Any] = {"target": target, "executions": 0, "crashes": 0, "slowest_ms": 0.0}
    began = time.monotonic()

    def counted(data: bytes) -> None:
        started = time.perf_counter()
        try:
            one_input(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
            said["crashes"] += 1
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            (out / f"{target}-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
        said["slowest_ms"] = max(said["slowest_ms"], round((time.perf_counter() - started) * 1e3, 2))
        said["executions"] += 1
        if said["executions"] == runs:
            said["max_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            said["seconds"] = round(time.monotonic() - began, 1)
            print(json.dumps(said), flush=True)
            os._exit(0)  # the fuzzer itself never returns

    with tempfile.TemporaryDirectory() as corpus:
        for number, content in enumerate(seeds):
            (Path(corpus) / str(number)).write_bytes(content)
        options = [f"-seed={seed}", "-max_len=8192", "-timeout=30", "-rss_limit_mb=2048", f"-artifact_prefix={out}/{target}-"]
        atheris.Setup([sys.argv[0], *options, corpus], counted)
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
