"""Commands of training: a model by its stages, labels for drives, and what a model knows then."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from alpamayo_ros.cli.app import Base, Figures, Profile, Rig, app, endpoint_key, shipped_nano

Data = Annotated[
    UseAppendAction[tuple[Path, ...]],
    arg(metavar="DIR", help="of alpamayo make-dataset (repeatable); none named with debug: two short drives made on the spot"),
]


@app.command
def train(
    stage: Positional[
        Annotated[Literal["see", "gather", "inject", "sft", "expert", "debug", "micro", "nano"], arg(metavar="STAGE|SIZE")]
    ],
    out: Annotated[Path, arg(metavar="DIR", help="folder of the run; one that was cut off goes on")],
    data: Data = (),
    begin: Annotated[
        Path | None,
        arg(
            metavar="DIR",
            help="bundle that the stage before left (the first begins with the base); of a size, to train it again",
        ),
    ] = None,
    base: Base = None,
    size: Annotated[Literal["debug", "micro", "nano"], arg(help="of the network and of its stages")] = "debug",
    blind: Annotated[bool, arg(help="a control: all stages of a size without pictures")] = False,
) -> Figures:
    """Train a stage, or all stages of a size; "debug" runs in seconds: docs/training.md."""
    from alpamayo_ros.training.commands import train_command

    return train_command(stage, size, data, begin, base or shipped_nano(), out, blind=blind)


@app.command
def label(
    out: Annotated[Path, arg(metavar="FILE", help="JSONL; what is there is not labelled again")],
    bag: Positional[Annotated[tuple[Path, ...], arg(metavar="BAG")]] = (),
    rig: Rig = "seven_camera",
    profile: Profile = "seven_camera",
    teacher: Annotated[
        str, arg(metavar="URL", help="OpenAI-compatible endpoint of a vision-language model: https://host/v1")
    ] = "",
    model: Annotated[str, arg(metavar="NAME", help="of the teacher")] = "",
    key_from: Annotated[str, arg(metavar="VARIABLE", help="environment variable that holds the teacher's key")] = "",
    prices: Annotated[tuple[float, float], arg(help="per million tokens read and written")] = (
        0.0,
        0.0,
    ),
    cache: Annotated[Path, arg(metavar="DIR", help="answers, so that nothing is paid twice")] = Path("out/answers"),
    review: Annotated[
        Path | None, arg(metavar="DIR", help="write a page for human review there; with --reviewed, where it was written")
    ] = None,
    reviewed: Annotated[
        UseAppendAction[tuple[Path, ...]],
        arg(metavar="FILE", help="that the page of --review handed out (repeatable): its labels go into --out, a new file"),
    ] = (),
    split: Annotated[
        Literal["train", "validation", "test"], arg(help="without bags: which seeds of the driving world")
    ] = "train",
    family: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar="NAME", help="without bags: only these; none named is all of the split")
    ] = (),
    each: Annotated[int, arg(help="without bags: scenes of each family")] = 1,
    ray: Annotated[str, arg(metavar="ADDRESS", help="without bags: a Ray whose workers drive the scenes, or local")] = "",
    workers: Annotated[int, arg(help="of that Ray")] = 1,
) -> Figures:
    """Label drives with decision, critical components and Chain of Causation.

    Bags are labelled by a teacher; without bags, scenes of the driving world are, by its own truth. With --reviewed, nothing
    is labelled: what people said of labels is put into them.
    """
    from alpamayo_ros.simulation.suites import families_of, scenes
    from alpamayo_ros.training.coc.endpoint import Endpoint
    from alpamayo_ros.training.coc.label import label_world
    from alpamayo_ros.training.coc.review import label_reviewed
    from alpamayo_ros.training.commands import Drives, label_drives
    from alpamayo_ros.training.workers import Workers
    from alpamayo_ros.types import InvalidInput

    if reviewed:
        if bag or review is None:
            raise InvalidInput("reviews are merged where they were asked for: want --reviewed FILE --review DIR, and no bags")
        return label_reviewed(review, reviewed, out)
    if not bag:
        return label_world(scenes(family or families_of(split), split, each), out, Workers(ray or None, workers))
    if not teacher or not model:
        raise InvalidInput("bags are labelled by a teacher: --teacher https://host/v1 --model NAME")
    endpoint = Endpoint(teacher, model, endpoint_key(key_from), input_price=prices[0], output_price=prices[1])
    return label_drives(Drives(bag, rig, profile), endpoint, cache, out, review)


@app.command
def examine(
    bundle: Positional[Annotated[str, arg(metavar="DIR", help="a trained bundle's folder")]],
    data: Data = (),
    blind: Annotated[
        str | None, arg(metavar="DIR", help="bundle of a control that was trained on grey pictures; it is shown grey ones")
    ] = None,
    windows: Annotated[int, arg(help="of the data, at most, evenly over all scenes")] = 600,
    pairs: Annotated[int, arg(help="of the same history with another light, and as many with and without a lead")] = 100,
    rig: Rig = "seven_camera",
    workers: Annotated[int, arg(help="processes that think and draw")] = 1,
    out: Path = Path("out/exam"),
) -> Figures:
    """What a trained model knows of held-out scenes: against baseline, expert, its own eyes shut and a blind control."""
    from alpamayo_ros.profile import read_rig
    from alpamayo_ros.training.commands import examine_command
    from alpamayo_ros.training.exam.sit import Exam
    from alpamayo_ros.types import InvalidInput

    if not data:
        raise InvalidInput("want --data DIR of alpamayo make-dataset --split test")
    return examine_command(Exam(bundle, blind, windows, pairs, read_rig(rig), workers), data, out)


@app.command
def corpus(
    bundle: Positional[
        Annotated[str, arg(metavar="DIR", help="a trained bundle's folder; @graphed answers soonest, and all say the same")]
    ],
    data: Data = (),
    windows: Annotated[int, arg(help="of split train, drawn from all of the data")] = 1000,
) -> Figures:
    """Write what a bundle says on windows of data sets beside it, as corpus.txt: fast engines guess its words from that."""
    from alpamayo_ros.training.corpus import write_corpus
    from alpamayo_ros.types import InvalidInput

    if not data:
        raise InvalidInput("want --data DIR of alpamayo make-dataset or add-drives")
    return write_corpus(bundle, data, windows)
