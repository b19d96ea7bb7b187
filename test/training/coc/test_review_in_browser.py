"""The page in a real browser: what a person presses is what is handed out, and it merges."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from training.coc.test_review import shown

from alpamayo_ros.training.coc.review import Merged, merge, write_review

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome is installed"),
    pytest.mark.thorough,
]

TAKE = """
let taken = "";
URL.createObjectURL = (blob) => { blob.text().then((text) => { out.textContent = text; }); return "blob:none"; };
HTMLAnchorElement.prototype.click = () => {};
const out = document.body.appendChild(document.createElement("pre"));
out.id = "out";
const press = (n, value) => cases[n].querySelector(`button[value=${value}]`).click();
const type = (n, name, value) => {
  const element = cases[n].querySelector(`[name=${name}]`);
  element.value = value;
  element.dispatchEvent(new Event("input", { bubbles: true }));
};
const sign = (name) => { reviewer.value = name; };
"""


def pressed(folder: Path, script: str) -> tuple[Merged, str, list[str]]:
    """The labels after what a script presses and downloads, the page's count, and its complaints by label."""
    asked, page = write_review(folder, shown(4), "Labels")
    acted = folder / "acted.html"
    acted.write_text(page.read_text().replace("</body>", f"<script>{TAKE}{script}; download();</script></body>"))
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += ["--virtual-time-budget=2000", "--dump-dom", acted.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="out">(.*?)</pre>', dom, re.DOTALL)
    count = re.search(r'id="count">(.*?)<', dom)
    assert found is not None
    assert count is not None
    reviews = folder / "reviews.jsonl"
    reviews.write_text(html.unescape(found[1]))
    return merge(asked, [reviews]), count[1], re.findall(r'role="alert">(.*?)<', dom)


def test_what_is_pressed_is_what_merges(tmp_path: Path) -> None:
    done, count, complaints = pressed(
        tmp_path,
        """
        sign("Ada");
        press(0, "accepted");
        type(1, "trace", "Stop since the traffic light ahead is red.");
        type(1, "note", 'a "quoted" <b>note</b>');
        press(1, "corrected");
        press(2, "accepted"); press(2, "rejected");
        """,
    )
    assert done.refused == ()
    assert done.opinions == {"accepted": 1, "corrected": 1, "rejected": 1, "none": 1}
    assert done.records[1].chain.trace == "Stop since the traffic light ahead is red."
    assert done.records[1].chain.components == shown(1)[0][1].chain.components
    assert (count, complaints) == ("3 of 4 reviewed", [""] * 4)


def test_what_cannot_be_meant_is_not_taken(tmp_path: Path) -> None:
    done, count, complaints = pressed(
        tmp_path,
        """
        sign("Ada");
        press(0, "corrected");
        type(1, "trace", "Yield."); press(1, "accepted");
        type(2, "added", "[oops"); press(2, "rejected");
        press(3, "accepted"); type(3, "longitudinal", "yield");
        """,
    )
    assert done.opinions == {"none": 4}
    assert count == "0 of 4 reviewed"
    assert complaints[0] == "not taken: no field was changed"
    assert complaints[1] == complaints[3] == "not taken: the fields were changed: press correct"
    assert complaints[2].startswith("not taken: ")


def test_a_reload_loses_nothing_and_nobody_reviews_without_a_name(tmp_path: Path) -> None:
    """A second visit finds the opinions, the changed fields and the components that were added."""
    script = """
    if (!reviewer.value) {
      press(0, "rejected"); download(); if (out.textContent) throw new Error("nobody's review");
      type(1, "added", '[{"category": "lane", "description": "the lane", "seen_s": 0, "state": "clear"}]');
      press(1, "corrected"); sign("Ada"); keep(); location.reload();
    } else { type(1, "trace", "Stop at the line since the traffic light is red."); }
    """
    done, count, _ = pressed(tmp_path, script)
    assert count == "2 of 4 reviewed"
    assert done.opinions == {"rejected": 1, "corrected": 1, "none": 2}
    corrected = done.records[0].chain
    assert [component.category for component in corrected.components] == ["lane", "traffic_light"]
    assert corrected.trace == "Stop at the line since the traffic light is red."
