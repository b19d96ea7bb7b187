"""The page holds every label as it is, and what comes back changes labels only where it should."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest
from training.coc.made import RED_LIGHT, chain
from training.coc.seen import ROLES, moment
from typed import typed

from alpamayo_ros.training.coc.quality import assessed
from alpamayo_ros.training.coc.review import Label, Merged, Review, merge, write_review
from alpamayo_ros.training.coc.schema import Chain, Moment, Record, Source, read_records
from alpamayo_ros.training.dataset.labels import read_labels
from alpamayo_ros.types import InvalidInput, Lateral, Longitudinal

HAND = Source(name="hand", version="1")
HOSTILE = """</script><script>alert("x")</script><img src=x onerror='alert(1)'>{{ 7 * 7 }}"""


def shown(count: int, said: Chain | None = None) -> list[tuple[Moment, Record]]:
    moments = [moment(moment().t0_ns + n * 100_000_001, "drive") for n in range(count)]
    records = [Record(clip=m.clip, t0_ns=m.t0_ns, chain=said or chain(), labeler=HAND) for m in moments]
    return [(m, assessed(record, m.meta_actions)) for m, record in zip(moments, records, strict=True)]


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, and the text of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, **has: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag and has.items() <= attrs.items()]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    hostile = chain("Stop since the traffic light is red.", [RED_LIGHT.model_copy(update={"description": HOSTILE})])
    _, path = write_review(tmp_path_factory.mktemp("review"), shown(2, hostile), f"Labels {HOSTILE}")
    return Page(path.read_text(encoding="utf-8"))


def test_a_label_is_named_exactly(page: Page) -> None:
    """Nanoseconds have more digits than a number of JavaScript holds: the name passes as text."""
    names = [Label.model_validate_json(str(attrs["data-of"])) for attrs in page.all("article")]
    assert names == [Label(clip=r.clip, t0_ns=r.t0_ns, labeler=r.labeler) for _, r in shown(2)]
    assert names[1].t0_ns != int(float(names[1].t0_ns)), "the test would not notice"


def test_the_fields_hold_the_label(page: Page) -> None:
    boxes = page.all("input", name="component")
    assert [json.loads(str(box["value"]))["description"] for box in boxes] == [HOSTILE] * 2
    Chain.model_validate_json(json.dumps(chain().model_dump() | {"components": [json.loads(str(boxes[0]["value"]))]}))
    for name in (*get_args(Longitudinal), *get_args(Lateral)):
        assert page.text.count(name) >= 2, "an option of both labels"
    assert "Stop since the traffic light is red." in page.text


def test_every_camera_is_shown(page: Page) -> None:
    pictures = page.all("img")
    assert [picture["alt"] for picture in pictures][:3] == ["front_wide", "front_left", "front_right"]
    assert len(pictures) == 2 * (len(ROLES) + 1)
    assert all(str(picture["src"]).startswith("data:image/jpeg;base64,") for picture in pictures)


def test_the_page_needs_nothing_from_elsewhere(page: Page) -> None:
    outside = [
        (tag, name, value)
        for tag, attrs in page.elements
        for name, value in attrs.items()
        if name in ("src", "href") and not str(value).startswith(("data:", "#"))
    ]
    assert outside == []
    assert len(page.all("script")) == 1


def test_words_of_a_label_stay_words(page: Page) -> None:
    assert page.text.count(HOSTILE) == 4, "title, heading, two components"
    assert not [attrs for _, attrs in page.elements if "onerror" in attrs]


@pytest.mark.parametrize("pairs", [[], shown(1) * 2, [(moment(7, "other"), shown(1)[0][1])]])
def test_what_cannot_be_told_apart_is_not_shown(tmp_path: Path, pairs: list[tuple[Moment, Record]]) -> None:
    with pytest.raises(InvalidInput, match="review: "):
        write_review(tmp_path, pairs, "Labels")
    assert list(tmp_path.iterdir()) == []


def line(record: Record, opinion: str, **more: Any) -> str:
    of = {"clip": record.clip, "t0_ns": record.t0_ns, "labeler": record.labeler.model_dump()}
    return json.dumps({"of": of, "opinion": opinion, "chain": None, "note": "", "reviewer": "Ada"} | more)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_review(tmp_path_factory.mktemp("asked"), shown(4), "Labels")[0]


@pytest.fixture
def folder(tmp_path: Path, asked: Path) -> Path:
    shutil.copy(asked, tmp_path)
    return tmp_path


def merged(folder: Path, *lines: str) -> Merged:
    (folder / "reviews.jsonl").write_text("\n".join(lines) + "\n")
    return merge(folder / "review.jsonl", [folder / "reviews.jsonl"])


def test_nobody_reviewed_anything(folder: Path) -> None:
    done = merged(folder)
    assert done.records == tuple(record for _, record in shown(4))
    assert (done.opinions, done.refused) == ({"none": 4}, ())


def test_accepted_stays_corrected_changes_rejected_goes(folder: Path) -> None:
    first, second, third, fourth = (record for _, record in shown(4))
    better = chain("Stop since the traffic light ahead is red.")
    done = merged(
        folder,
        line(first, "accepted"),
        line(second, "corrected", chain=better.model_dump(mode="json")),
        line(third, "rejected", note="no light to be seen"),
    )
    assert done.opinions == {"accepted": 1, "corrected": 1, "rejected": 1, "none": 1}
    assert [record.t0_ns for record in done.records] == [first.t0_ns, second.t0_ns, fourth.t0_ns]
    assert done.records[0] == first
    assert done.records[1].chain == better
    assert done.records[1].labeler == Source(name="Ada", version="review of hand 1")
    assert done.records[1].failed == ()


def test_a_person_is_checked_like_anybody(folder: Path) -> None:
    _, second, *_ = (record for _, record in shown(4))
    worse = chain("Stop since a pedestrian crosses the road.").model_dump(mode="json")
    done = merged(folder, line(second, "corrected", chain=worse))
    assert "evidence" in done.records[1].failed


def test_the_last_review_of_a_label_counts(folder: Path) -> None:
    first, *_ = (record for _, record in shown(4))
    assert merged(folder, line(first, "rejected"), line(first, "accepted")).opinions == {"accepted": 1, "none": 3}


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("{", "line: Invalid JSON"),
        ("[]", "line: Input should be an object"),
        (line(shown(1)[0][1], "praised"), "opinion: "),
        (line(shown(1)[0][1], "accepted", reviewer=" "), "nobody's review"),
        (line(shown(1)[0][1], "corrected"), "chain missing"),
        (line(shown(1)[0][1], "accepted", chain=chain().model_dump(mode="json")), "chain given"),
        (line(shown(1)[0][1], "corrected", chain={"choice": {}, "components": [{"category": "ufo"}], "trace": "Fly."}), "ufo"),
        (line(shown(1)[0][1].model_copy(update={"t0_ns": 5}), "accepted"), "drive 5 was not shown"),
    ],
)
def test_a_bad_line_is_named_and_costs_nothing_else(folder: Path, broken: str, why: str) -> None:
    second = shown(2)[1][1]
    done = merged(folder, broken, line(second, "accepted"))
    (refused,) = done.refused
    assert refused.startswith(f"{folder / 'reviews.jsonl'}:1: ")
    assert why in refused
    assert done.opinions == {"none": 3, "accepted": 1}
    assert len(done.records) == 4


def test_a_file_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "reviews.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="no JSONL"):
        merge(folder / "review.jsonl", [folder / "reviews.jsonl"])


def test_our_own_file_must_be_whole(folder: Path) -> None:
    with (folder / "review.jsonl").open("a") as file:
        file.write("{")
    with pytest.raises(InvalidInput, match=r"was changed: .*review\.jsonl:5"):
        merged(folder)


def test_a_review_of_a_correction_has_its_chain() -> None:
    record = shown(1)[0][1]
    review = Review.model_validate_json(line(record, "corrected", chain=chain().model_dump(mode="json")))
    assert review.chain == chain()


def test_reviews_of_several_people_become_labels_to_train_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third, fourth = (record for _, record in shown(4))
    better = chain("Stop since the traffic light ahead is red.")
    ada = [line(first, "rejected"), "{", line(second, "corrected", chain=better.model_dump(mode="json"))]
    grace = [line(third, "accepted", reviewer="Grace")]
    (folder / "ada.jsonl").write_text("\n".join(ada))
    (folder / "grace.jsonl").write_text("\n".join(grace))
    out = folder / "new" / "reviewed.jsonl"
    reviewed = [word for name in ("ada", "grace") for word in ("--reviewed", folder / f"{name}.jsonl")]
    words = ("label", "--review", folder, *reviewed, "--out", out)
    said = typed(monkeypatch, capsys, *words)
    assert said.status == 0, said.err
    figures = json.loads(said.out.splitlines()[-1])
    assert figures["opinions"] == {"rejected": 1, "corrected": 1, "accepted": 1, "none": 1}
    assert (figures["samples"], figures["failed"], figures["files"]) == (3, {}, [str(out)])
    (refused,) = figures["refused_lines"]
    assert refused.startswith(f"{folder / 'ada.jsonl'}:2: ")
    assert read_records(out).records[1:] == (third, fourth)
    texts = {t0_ns: reasoning.text for (_, t0_ns), reasoning in read_labels([out]).reasoning.items()}
    assert texts == {second.t0_ns: better.trace, third.t0_ns: third.chain.trace, fourth.t0_ns: fourth.chain.trace}
    before = out.read_bytes()
    again = typed(monkeypatch, capsys, *words)
    assert (again.status, "exists: reviewed labels want a file of their own" in again.err) == (2, True)
    assert out.read_bytes() == before
