"""`alpamayo corpus`, as somebody would type it: what a bundle says is guessed from then on."""

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from evaluation.small_vehicle import small_rig_of
from model.nano import BUNDLE as UNTRAINED
from typed import Said, typed

from alpamayo_ros.bundle.config import read_config
from alpamayo_ros.engine.graphed.engine import GraphedEngine
from alpamayo_ros.engine.speculation.corpus import CORPUS_FILE, read_corpus
from alpamayo_ros.engine.speculation.drafts import BLOCK, Memory
from alpamayo_ros.engine.speculation.replay import passes_of
from alpamayo_ros.model.tokens import Tokenizer, read_tokenizer
from alpamayo_ros.profile import read_profile
from alpamayo_ros.simulation.data.bag import make_bag
from alpamayo_ros.training import corpus
from alpamayo_ros.training.dataset.adding import BagDrive, Recipe, add_drives, split_of_clip
from alpamayo_ros.training.dataset.reading import examples, open_dataset
from alpamayo_ros.types import Request

SHIPPED = Path(__file__).parents[2] / "models" / "ar1_nano"
WINDOWS = 3
LEARNED, KEPT = (next(f"drive{n}" for n in range(99) if split_of_clip(f"drive{n}") == split) for split in ("train", "test"))

Collect = Callable[..., Said]


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A recorded drive, once to learn from and once kept."""
    folder, profile = tmp_path_factory.mktemp("drives"), read_profile(str(SHIPPED / "profile.yaml"))
    rig = small_rig_of(profile.image_width, profile.image_height)
    make_bag(folder / LEARNED, rig, duration_s=9.0, seed=2)  # 2 s of history and 6.4 s of future leave 0.6 s, at 5 Hz
    shutil.copytree(folder / LEARNED, folder / KEPT)
    for clip in (LEARNED, KEPT):
        add_drives(folder / f"of_{clip}", Recipe(profile, rate_hz=5.0), [BagDrive(folder / clip, rig)])
    return {clip: folder / f"of_{clip}" for clip in (LEARNED, KEPT)}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """What ships, knowing nothing of what it says."""
    shutil.copytree(SHIPPED, tmp_path / "nano", ignore=lambda *_: {CORPUS_FILE})
    return tmp_path / "nano"


@pytest.fixture
def collect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Collect:
    return lambda *words: typed(monkeypatch, capsys, "corpus", *words)


class Heard(Memory):
    """Knows nothing, and keeps what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[tuple[int, ...]] = []

    def remember(self, trace: Sequence[int]) -> None:
        self.texts.append(tuple(trace))


def written(bundle: Path, data: Path) -> list[tuple[int, ...]]:
    """Ids of what a bundle says on the windows of a data set, in the order of `alpamayo corpus`."""
    with closing(GraphedEngine(bundle)) as engine:
        engine.memory = heard = Heard()
        for example in examples(open_dataset(data), "train", seed=0, epoch=0):
            engine.infer(example.observation, Request())
    return heard.texts


def test_what_was_said_is_known_before_it_is_said_again(collect: Collect, bundle: Path, drives: dict[str, Path]) -> None:
    """With its meta-actions: where these are left out, what follows the trace is found out one word after the other."""
    said = collect(f"{bundle}@graphed", "--data", drives[LEARNED])
    assert said.status == 0, said.err
    texts, known = written(bundle, drives[LEARNED]), corpus_of(bundle)
    assert known == texts
    figures = json.loads(said.out.splitlines()[-1])
    assert (figures["lines"], figures["left_out"]) == (len(texts), 0) == (WINDOWS, 0)
    longest = max(texts, key=len)
    traces = [text[: text.index(open_tokenizer(bundle).id("<|meta_action_start|>")) + 1] for text in texts]
    assert passes_of(longest, Memory([longest]), len(longest), BLOCK) == 0
    assert passes_of(longest, Memory(traces), len(longest), BLOCK) > 0


def test_as_many_windows_as_are_wanted_are_asked_about(collect: Collect, bundle: Path, drives: dict[str, Path]) -> None:
    assert collect(f"{bundle}@graphed", "--data", drives[LEARNED], "--windows", 1).status == 0
    assert len(corpus_of(bundle)) == 1


@pytest.mark.parametrize(
    ("engine", "arguments", "why"),
    [
        ("{bundle}", (), "want --data DIR of alpamayo make-dataset or add-drives"),
        ("{bundle}", ("--data", LEARNED, "--windows", 0), "want 1 window or more, got 0"),
        ("{bundle}", ("--data", KEPT), f"no example of split train; there are 0 of train, 0 of validation, {WINDOWS} of test"),
        ("kinematic", ("--data", LEARNED), "kinematic says nothing: want a model bundle's folder"),
        (str(UNTRAINED), ("--data", LEARNED), "the data were made for profile ar1_nano"),
    ],
)
def test_what_cannot_be_is_refused_and_what_is_there_stays(
    engine: str, arguments: tuple[str, ...], why: str, collect: Collect, bundle: Path, drives: dict[str, Path]
) -> None:
    (bundle / CORPUS_FILE).write_text("Stop\n")
    said = collect(engine.format(bundle=bundle), *(drives.get(word, word) for word in arguments))
    assert said.status == 2
    assert why in said.err.splitlines()[-1]
    assert (bundle / CORPUS_FILE).read_text() == "Stop\n"


def test_texts_without_an_end_are_nothing_to_guess_from(
    collect: Collect, bundle: Path, drives: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "Request", lambda: Request(max_tokens=2))
    said = collect(f"{bundle}@graphed", "--data", drives[LEARNED])
    assert said.status == 2
    assert f"none of {WINDOWS} texts came to an end" in said.err.splitlines()[-1]
    assert not (bundle / CORPUS_FILE).exists()


def open_tokenizer(bundle: Path) -> Tokenizer:
    return read_tokenizer(bundle, read_config(bundle))


def corpus_of(bundle: Path) -> list[tuple[int, ...]]:
    return read_corpus(bundle, open_tokenizer(bundle), meta_actions=True)
