"""The page in a real browser: it is drawn, it complains about nothing, it asks the network for nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from alpamayo_ros.evaluation.openloop.results import Evaluation
from alpamayo_ros.evaluation.openloop.summary import summarise
from alpamayo_ros.evaluation.report.page import write_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTH, HEIGHT = 1400, 6000
BY_BROWSER = "not an origin"  # who asks for the browser's own updates, in its log

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome is installed"),
    pytest.mark.thorough,
]


def shown(page: Path, folder: Path) -> tuple[np.ndarray, list[str], set[str]]:
    """The page's pixels (H, W, 3), what the console said, and the addresses that the page asked for."""
    picture, network = folder / "page.png", folder / "network.json"
    command = [
        str(BROWSER),
        *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", "--v=0"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking"),
        *(f"--user-data-dir={folder / 'profile'}", f"--log-net-log={network}", f"--window-size={WIDTH},{HEIGHT}"),
        *(f"--screenshot={picture}", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    requests = [event.get("params", {}) for event in json.loads(network.read_text())["events"]]
    by_page = {request["url"] for request in requests if request.get("initiator", BY_BROWSER) != BY_BROWSER}
    return cv2.imread(str(picture)), said, by_page


def test_the_page_is_drawn_without_a_complaint_or_a_request(evaluation: Evaluation, recorded: Path, tmp_path: Path) -> None:
    page = write_report(evaluation, summarise(evaluation), {"bag_0": recorded}, tmp_path)[0]
    picture, said, asked = shown(page, tmp_path)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert not said
    assert not asked
    colours = picture.astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)  # numbers are sorted faster than rows of three
    for top in range(0, 4800, 800):
        assert len(np.unique(colours[top : top + 800])) > 20, f"nothing at {top} px"
    assert (picture[:, :100] == 255).all(), "the margin is white: nothing runs out of the page"
    assert (picture[:, -100:] == 255).all()


def test_a_complaint_and_a_request_would_be_noticed(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<img src="http://elsewhere.invalid/picture.png"><script>console.error("broken")</script>')
    _, said, asked = shown(page, tmp_path)
    assert any("broken" in line for line in said)
    assert asked == {"http://elsewhere.invalid/picture.png"}
