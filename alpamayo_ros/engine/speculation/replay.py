"""`alpamayo bench speculation`: how many passes of the network real traces of a drive would have taken, guessed and not.

A trace is only ever guessed from those before it in its own drive, and from those of other drives. Passes are counted behind
the one that reads the prompt, until every token is known. Where traces were drawn, the next one is as independent of its guess
as it would be for the engine: a guess is right as often here as there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from alpamayo_ros.engine.speculation.drafts import BLOCK, GUESSES, ROOT, Memory
from alpamayo_ros.types import InvalidInput

WORD = re.compile(r"<\|[a-z_]+\|>| ?[A-Za-z]+|'[a-z]+| ?\d| ?[^\sA-Za-z\d]+|\s+")
"""What is counted as a token: about what the released tokenizer makes of these texts, and anybody can count it."""

ENDS = ("<|cot_end|>", "<|traj_future_start|>")
"""Written behind every trace."""


class Way(NamedTuple):
    """A way of guessing: nodes of the tree beside the prompt, words of a pass behind it, and whether other drives are known."""

    name: str
    guesses: int
    block: int
    corpus: bool


WAYS = (
    Way("one token at a time", 0, 1, corpus=False),
    Way("drafts of this drive", GUESSES, BLOCK, corpus=False),
    Way("and of other drives", GUESSES, BLOCK, corpus=True),
)


def bench_speculation(traces: Path, out: Path) -> dict[str, Any]:
    """Replay traces, {drive: [trace, ...]} in the order they were said, and write speculation.json, .md and .png.

    Raises InvalidInput for a file of another kind, and for less than two drives.
    """
    drives, _ = numbered(read_traces(traces))
    passes = {way.name: _replayed(drives, way) for way in WAYS}
    figures = {name: summary(counts) for name, counts in passes.items()}
    plain, ours = (figures[way.name]["mean_forwards"] for way in (WAYS[0], WAYS[-1]))
    told: dict[str, Any] = {"mean_forwards": ours, "plain_forwards": plain, "ratio": plain / ours if ours else float("inf")}
    told |= {"drives": len(drives), "traces": sum(map(len, drives.values())), "ways": figures}
    out.mkdir(parents=True, exist_ok=True)
    (out / "speculation.json").write_text(json.dumps(told, indent=2) + "\n")
    (out / "speculation.md").write_text(table(figures))
    draw(passes, out / "speculation.png")
    return told | {"files": [str(out / f"speculation.{kind}") for kind in ("json", "md", "png")]}


def read_traces(path: Path) -> dict[str, list[str]]:
    """Raises InvalidInput."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InvalidInput(f"{path}: {error}") from error
    if not isinstance(stored, dict) or not all(
        isinstance(said, list) and all(isinstance(trace, str) for trace in said) for said in stored.values()
    ):
        raise InvalidInput(f"{path}: want {{drive: [trace, ...]}}, as JSON")
    if len(stored) < 2 or not all(stored.values()):
        raise InvalidInput(f"{path}: want traces of two drives at least, got {[len(said) for said in stored.values()]} of each")
    return stored


def passes_of(trace: Sequence[int], memory: Memory, guesses: int, block: int) -> int:
    """Passes behind the prompt until a trace is known that is guessed so."""
    tree = memory.tree(guesses)
    right = tree.agreed(_after(tree.tokens, tree.paths(), trace))
    known, passes = min(len(trace), len(right) + 1), 0
    while known < len(trace):
        guess = memory.following(trace[:known], block - 1)
        both = zip(guess, trace[known:], strict=False)
        agree = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))
        known, passes = min(len(trace), known + agree + 1), passes + 1
    return passes


def _after(tokens: Sequence[int], paths: Sequence[Sequence[int]], trace: Sequence[int]) -> list[int]:
    """What a network that says this trace would say after the prompt and after each node; where it never comes to, nothing."""
    said = [list(trace[: len(path)]) == [tokens[node] for node in path] for path in paths]
    following = [*trace, ROOT]
    return [following[0], *(following[len(path)] if here else ROOT for path, here in zip(paths, said, strict=True))]


def summary(passes: Sequence[int]) -> dict[str, float]:
    """Mean and quantiles, and the share of traces that needed no pass at all."""
    p50, p90, p99 = np.quantile(passes, [0.5, 0.9, 0.99])
    none = float(np.mean(np.equal(passes, 0)))
    return {"mean_forwards": float(np.mean(passes)), "p50": float(p50), "p90": float(p90), "p99": float(p99), "none": none}


def table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """As Markdown."""
    head = "| passes behind the prompt | mean | p50 | p90 | p99 | none needed |\n|---|---|---|---|---|---|\n"
    quantiles = {name: " | ".join(f"{row[p]:.0f}" for p in ("p50", "p90", "p99")) for name, row in figures.items()}
    return head + "".join(
        f"| {name} | {row['mean_forwards']:.2f} | {quantiles[name]} | {row['none']:.0%} |\n" for name, row in figures.items()
    )


def draw(passes: Mapping[str, Sequence[int]], path: Path) -> None:
    """The share of traces that were known after so many passes, as PNG."""
    from matplotlib.figure import Figure  # half a second that only this command needs

    figure = Figure(figsize=(6.4, 3.2), layout="constrained", dpi=110)
    axes = figure.subplots()
    for name, counts in passes.items():
        axes.ecdf(counts, label=name)
    axes.set(xlabel="passes behind the prompt", ylabel="share of traces", xlim=(-0.5, 30.5), ylim=(0, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, metadata={"Software": None})


def numbered(drives: Mapping[str, Sequence[str]]) -> tuple[dict[str, list[list[int]]], dict[str, int]]:
    """Words as numbers, and the number of each word."""
    ids: dict[str, int] = {}
    told = {
        drive: [[ids.setdefault(word, len(ids)) for word in (*WORD.findall(trace), *ENDS)] for trace in said]
        for drive, said in drives.items()
    }
    return told, ids


def _replayed(drives: Mapping[str, Sequence[Sequence[int]]], way: Way) -> list[int]:
    counts: list[int] = []
    for drive, said in track(drives.items(), way.name, console=Console(stderr=True)):
        memory = Memory([trace for other, traces in drives.items() if other != drive for trace in traces] if way.corpus else ())
        for trace in said:
            counts.append(passes_of(trace, memory, way.guesses, way.block))
            memory.remember(trace)
    return counts
