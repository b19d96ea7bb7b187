"""What `bench_pace` found, to be read and looked at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLOURS = {"look": "#88ccee", "scene": "#44aa99", "begin": "#117733", "go_on": "#ddcc77", "denoise": "#cc6677"}
LABELS = {
    "look": "look at new frames",
    "scene": "scene's tokens",
    "begin": "prompt with guesses",
    "go_on": "words behind it",
    "denoise": "flow",
}


def write(pace: Mapping[str, Any], out: Path) -> None:
    """Into a folder that is there: `bench_engine.md` and `.png`; the tables on the screen, too."""
    eight = pace["in_fp8"]
    told = f"Exact, {pace['device']}, {pace['dtype']}, weights {pace['weights']}\n\n{table(pace)}\nNearly exact, in FP8: "
    told += "not measured, no accelerator\n" if eight is None else f"\n\n{table({'cases': eight})}"
    print(told)
    (out / "bench_engine.md").write_text(told)
    draw(pace, out / "bench_engine.png")


def table(pace: Mapping[str, Any]) -> str:
    """As Markdown: whole answers, ms, and what the reference takes for the same."""
    head = "| case | p50 / p95 / p99 ms | newest frames, p50 ms | passes | reference p50 ms | times as fast |"
    public = "public reference p50 ms | times as fast |" if pace.get("public") else ""
    head += f" {public}\n|---|---|---|---|---|---|{'---|---|' if public else ''}\n"
    rows = []
    for name, found in pace["cases"].items():
        whole = " / ".join(f"{found['fast'][p]:.1f}" for p in ("p50_ms", "p95_ms", "p99_ms"))
        arrival = f"{found['arrival']['p50_ms']:.1f}" if "arrival" in found else "in it"
        reference, ratio = (f"{found['reference']['p50_ms']:.1f}", f"{found['ratio']:.2f}") if "ratio" in found else "--"
        theirs = f" {found['public']['p50_ms']:.1f} | {found['public_ratio']:.2f} |" if "public" in found else ""
        theirs = theirs or (" - | - |" if public else "")
        rows.append(f"| {name} | {whole} | {arrival} | {found['passes']:.1f} | {reference} | {ratio} |{theirs}\n")
    return head + "".join(rows)


def draw(pace: Mapping[str, Any], path: Path) -> None:
    """Stages of every case as stacked bars, with the reference's whole beside them, as PNG."""
    from matplotlib.figure import Figure  # half a second that only this command needs

    names = list(pace["cases"])
    figure = Figure(figsize=(8.0, 0.42 * len(names) + 1.2), layout="constrained", dpi=110)
    axes = figure.subplots()
    for row, name in enumerate(names):
        found, left = pace["cases"][name], 0.0
        for stage, ms in found["stage_ms"].items():
            axes.barh(row, ms, left=left, color=COLOURS[stage], label=LABELS[stage] if row == 0 else None)
            left += ms
        axes.plot(found["reference"]["p50_ms"], row, "k|", markersize=14, label="reference, whole" if row == 0 else None)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(f"ms on {pace['device']}, {pace['dtype']}, weights {pace['weights']}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    figure.savefig(path, metadata={"Software": None})
