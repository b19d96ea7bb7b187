"""The page: one file that needs nothing else, in which anybody's text is text, the same bytes for the same evaluation."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from evaluation.openloop.made import BUNDLE, REJECTED_BY

from alpamayo_ros.evaluation.openloop.gate import Verdict
from alpamayo_ros.evaluation.openloop.results import Evaluation
from alpamayo_ros.evaluation.openloop.summary import summarise
from alpamayo_ros.evaluation.report.facts import facts
from alpamayo_ros.evaluation.report.markdown import plain
from alpamayo_ros.evaluation.report.page import write_report

EVIL = "<script>alert('$1_{2}')</script> | **bold** `code` [a](http://evil) {{ 7 * 7 }}"


@pytest.fixture(scope="module")
def page(evaluation: Evaluation, recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    files = write_report(evaluation, summarise(evaluation), {"bag_0": recorded}, tmp_path_factory.mktemp("report"))
    assert [file.name for file in files] == ["report.html", "report.md"]
    return files[0].read_text(), files[1].read_text()


def named_by_an_enemy(evaluation: Evaluation) -> Evaluation:
    """Every text that is not ours is an attack."""
    bag = evaluation.bags[1]
    windows = []
    for window in bag.windows:
        plan = window.plans[BUNDLE]
        plans = {EVIL: replace(plan, reasoning=replace(plan.reasoning, text=EVIL))}
        evil = replace(window, refused={EVIL: EVIL}, deviations_m={EVIL: None}, rejected={EVIL: (EVIL,)})
        windows.append(replace(evil, plans=plans, clip=EVIL))
    coverage = replace(bag.coverage, not_observed={EVIL: 4}, frames_refused={}, examples={EVIL: f"{EVIL} 1"})
    bags = (replace(bag, bag=EVIL, windows=tuple(windows), weights={EVIL: "untrained"}, coverage=coverage),)
    return replace(evaluation, bags=bags, broken={EVIL: EVIL}, provenance={EVIL: EVIL})


def test_the_page_asks_for_nothing(page: tuple[str, str]) -> None:
    html, _ = page
    assert not re.findall(r"https?://(?!www\.w3\.org/)", html)
    assert all(link.startswith(("data:", "#")) for link in re.findall(r'(?:src|href)="([^"]*)"', html))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert "<script" not in html
    assert "@import" not in html
    assert html.count("data:image/jpeg") == 4, "two windows, each with its front and all its cameras"


def test_drawings_share_no_id(page: tuple[str, str]) -> None:
    ids = re.findall(r' id="([^"]*)"', page[0])
    assert ids
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', page[0])) <= set(ids)


@pytest.mark.thorough
def test_the_same_evaluation_gives_the_same_bytes(
    page: tuple[str, str], evaluation: Evaluation, recorded: Path, tmp_path: Path
) -> None:
    again = write_report(evaluation, summarise(evaluation), {"bag_0": recorded}, tmp_path)
    assert tuple(file.read_text() for file in again) == page


def test_what_matters_comes_first(page: tuple[str, str], evaluation: Evaluation) -> None:
    found = facts(evaluation, summarise(evaluation))
    for text in page:
        shown = " ".join(unescape(text).replace("\\", "").split())
        places = [shown.find(words) for words in (found.subject, found.verdict, found.warning, found.shortcut[0], "ADE, 6.4 s")]
        warned_before_the_table = [places[1], places[2], places[4]]
        assert -1 not in places
        assert warned_before_the_table == sorted(warned_before_the_table)


def test_what_the_checks_reject_has_a_row_per_contender_and_check(page: tuple[str, str], evaluation: Evaluation) -> None:
    times = sum(BUNDLE in window.rejected for window in evaluation.windows)
    html, markdown = (unescape(text) for text in page)
    for check in REJECTED_BY:
        assert f'<tr><td>{BUNDLE}</td><td class="number">{times}</td><td>{check}</td></tr>' in html
        assert f"| {BUNDLE} | {check} | {times} |" in markdown


def test_page_and_markdown_have_the_same_figures(page: tuple[str, str], evaluation: Evaluation) -> None:
    found = facts(evaluation, summarise(evaluation))
    html, markdown = (unescape(text) for text in page)
    for row in found.every:
        for cell in row.cells:
            assert f"<b>{cell.value}</b>" in html
            assert f"{cell.value} {cell.interval}".strip() in markdown
            assert cell.difference in html
            assert cell.difference in markdown
    for bag, reason in found.broken.items():
        assert reason in html
        assert plain(reason) in page[1]
        assert plain(bag) in page[1]


def test_anybodys_text_is_only_text(evaluation: Evaluation, tmp_path: Path) -> None:
    evil = named_by_an_enemy(evaluation)
    gate = [Verdict(EVIL, failed=True)]
    html, markdown = (file.read_text() for file in write_report(evil, summarise(evil), {}, tmp_path, gate))
    assert "<script" not in html
    assert "7 * 7" in html, "not rendered as a template"
    assert html.count("&lt;script&gt;") > 8, "bag, contender, trace, refusal, reason, example, provenance, verdict"
    assert not re.search(r"(?<!\\)<script|(?<!\\)\*\*bold|(?<!\\)`code|(?<!\\)\[a", markdown)
    for table in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, "a cell ended early"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("@team stop", "@&#8203;team stop"),
        ("a@b.org", "a@&#8203;b.org"),
        ("http://evil.org", "http:&#8203;//evil.org"),
        ("see WWW.evil.org", "see WWW&#8203;.evil.org"),
        ("lane #12", "lane \\#&#8203;12"),
        ("t# ms: 10:30", "t\\# ms: 10:30"),
        ("0.1.0", "0.1.0"),
        ("12. of a list", "12\\. of a list"),
    ],
)
def test_nobody_is_mentioned_and_nothing_linked(text: str, source: str) -> None:
    assert plain(text) == source
    assert unescape(source).replace("\\", "").replace("\u200b", "") == text, "it shows as it is"


def test_what_the_gate_said_is_there(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation = replace(evaluation, bags=evaluation.bags[:1])
    gate = [Verdict("passed comfort", failed=False), Verdict("FAILED ade_6_4s", failed=True)]
    html, markdown = (file.read_text() for file in write_report(evaluation, summarise(evaluation), {}, tmp_path, gate))
    assert '<li class="failed">FAILED ade' in html
    assert "<li>passed comfort</li>" in html
    assert "- **FAILED ade_6_4s**" in markdown


def test_an_evaluation_without_a_window_is_reported(evaluation: Evaluation, tmp_path: Path) -> None:
    nothing = replace(evaluation, bags=(replace(evaluation.bags[0], windows=()),))
    none_at_all = replace(evaluation, bags=())
    for empty in (nothing, none_at_all):
        html, markdown = (file.read_text() for file in write_report(empty, summarise(empty), {}, tmp_path))
        assert "0 windows" in html
        assert "0 windows" in markdown
        assert "bag_broken" in html
