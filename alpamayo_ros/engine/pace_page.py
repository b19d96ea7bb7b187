"""What `bench_pace` found, to be read and looked at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PERCENTILES = ("p50_ms", "p95_ms", "p99_ms")
COLUMNS = (
    "case",
    "p50 / p95 / p99 ms",
    "newest frames · and the answer, p50 ms",
    "flow, p50 ms",
    "passes",
    "reference p50 ms",
    "times as fast · newest frames included",
)
PUBLIC = ("public reference p50 ms", "times as fast · newest frames included", "its answer")
COLOURS = {"look": "#88ccee", "scene": "#44aa99", "begin": "#117733", "go_on": "#ddcc77", "denoise": "#cc6677"}
LABELS = {
    "look": "look at new frames",
    "scene": "scene's tokens",
    "begin": "prompt with guesses",
    "go_on": "words behind it",
    "denoise": "flow",
}
WHOLES = {"fast": ("kx", "ours, whole, by turns"), "reference": ("k|", "reference, whole, by turns")}


WHOLE_RUNS = 200
"""As docs/performance.md wants them."""


def write(pace: Mapping[str, Any], out: Path) -> None:
    """Into a folder that is there: `bench_engine.md` and `.png`; the tables on the screen, too."""
    told = page(pace)
    print(told)
    (out / "bench_engine.md").write_text(told)
    draw(pace, out / "bench_engine.png")


def page(pace: Mapping[str, Any]) -> str:
    """As Markdown: a table each for what is cold and exact, warm and exact, and approximate."""
    head = (
        f"{pace['device']}, {pace['dtype']}, weights {pace['weights']}; {pace['runs']} runs after {pace['warm_up']} of warm-up"
    )
    head += "" if pace["runs"] >= WHOLE_RUNS else f" (fewer than {WHOLE_RUNS}: p99 is hardly more than the slowest)"
    cold, warm = (
        {name: found for name, found in pace["cases"].items() if ("arrival" in found) is is_warm} for is_warm in (False, True)
    )
    told = f"{head}\n\n## Cold, exact\n\n{table(cold)}\n## Warm, exact\n\n{table(warm)}"
    told += "".join(cost(name, found) for name, found in warm.items() if "guesses_cost" in found)
    eight = pace["in_fp8"]
    told += "\n## Approximate: FP8\n\n" + ("not measured: no accelerator\n" if eight is None else table(eight))
    plans = pace["in_plans"]
    return f"{told}\n## Approximate: TensorRT\n\n" + (f"not measured: {pace['no_plans']}\n" if plans is None else table(plans))


def cost(name: str, found: Mapping[str, Any]) -> str:
    """What guesses take of an answer of which none is right."""
    plain, difference = (" / ".join(f"{found[what][p]:.1f}" for p in PERCENTILES) for what in ("plain", "guesses_cost"))
    return f"\n{name}: without guesses {plain} ms; guesses that are all wrong cost {difference} ms (by run)\n"


def table(cases: Mapping[str, Any]) -> str:
    """As Markdown: whole answers, ms, and what the references take for the same."""
    has_public = any("public" in found for found in cases.values())
    columns = (*COLUMNS, *(PUBLIC if has_public else ()))
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return head + "".join(row(name, found, has_public=has_public) for name, found in cases.items())


def row(name: str, found: Mapping[str, Any], *, has_public: bool) -> str:
    """One case."""
    whole = " / ".join(f"{found['fast'][p]:.1f}" for p in PERCENTILES)
    arrival = " · ".join(f"{found[one]['p50_ms']:.1f}" for one in ("arrival", "with_arrival") if one in found) or "in it"
    reference = f"{found['reference']['p50_ms']:.1f}" if "reference" in found else "-"
    flow = f"{found['stage_p50_ms']['denoise']:.1f}"
    told = f"| {name} | {whole} | {arrival} | {flow} | {found['passes']:.1f} | {reference} | {times(found, 'ratio')} |"
    if "public" in found:
        told += f" {found['public']['p50_ms']:.1f} | {times(found, 'public_ratio')} | {held(found['public_answer'])} |"
    return f"{told}{' - | - | - |' if has_public and 'public' not in found else ''}\n"


def times(found: Mapping[str, Any], ratio: str) -> str:
    """How many times as fast, and behind a dot with what the newest frames took, where they came before."""
    return " · ".join(f"{found[one]:.2f}" for one in (ratio, f"{ratio}_with_arrival") if one in found) or "-"


def held(answer: Mapping[str, Any]) -> str:
    """How near the public reference's answers are to ours."""
    near = f"{answer['apart_m']:.2g} m apart at most, {answer['same_words']} of {answer['words']} words alike"
    return near if answer["alike"] else f"**another answer**: {near}"


def draw(pace: Mapping[str, Any], path: Path) -> None:
    """Stages of every case as stacked bars, measured alone; beside them the wholes that were measured by turns; as PNG."""
    from matplotlib.figure import Figure  # half a second that only this command needs

    names = list(pace["cases"])
    figure = Figure(figsize=(8.0, 0.42 * len(names) + 1.6), layout="constrained", dpi=110)
    axes = figure.subplots()
    for row, name in enumerate(names):
        found, left = pace["cases"][name], 0.0
        for stage, ms in found["stage_ms"].items():
            axes.barh(row, ms, left=left, color=COLOURS[stage], label=LABELS[stage] if row == 0 else None)
            left += ms
        for way, (mark, label) in WHOLES.items():
            axes.plot(found[way]["p50_ms"], row, mark, markersize=9, label=label if row == 0 else None)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(f"ms on {pace['device']}, {pace['dtype']}, weights {pace['weights']}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside lower center", ncols=4, fontsize=8)
    figure.savefig(path, metadata={"Software": None})
