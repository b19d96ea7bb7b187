"""A run goes on with what it was told before, and says both sides and the way out where that is something else."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from training.lessons import debug_bundle, examples, scene_data

from alpamayo_ros import types
from alpamayo_ros.evaluation.openloop.provenance import git_state
from alpamayo_ros.training.dataset.reading import described
from alpamayo_ros.training.run import CONFIG, Run, check_tokenizer, tokenizer_sha256
from alpamayo_ros.types import InvalidInput


def test_what_a_folder_was_not_told_is_not_compared_and_what_it_was_told_is(tmp_path: Path) -> None:
    """A folder of an older version says less."""
    Run(tmp_path / "run", {"stage": "sft"})
    Run(tmp_path / "run", {"stage": "sft", "data": "3 examples"})
    with pytest.raises(InvalidInput, match=r"\(stage\): stage was sft, is expert; choose another folder, or delete it"):
        Run(tmp_path / "run", {"stage": "expert", "data": "3 examples"})


def test_a_data_set_that_was_added_to_is_other_data(tmp_path: Path) -> None:
    """Named with both counts and both indices, and with what to do."""
    data = scene_data(tmp_path)
    before, count = described([data]), len(examples())
    run = {"data": before}
    Run(tmp_path / "run", run)
    Run(tmp_path / "run", {"data": described([data])})
    index = json.loads((data / "index.json").read_text())
    shutil.copy(data / "shard.tar", data / "more.tar")
    index["shards"].append(index["shards"][0] | {"file": "more.tar"})
    (data / "index.json").write_text(json.dumps(index))
    after = described([data])
    assert (before.split(",")[0], after.split(",")[0]) == (f"{count} examples", f"{2 * count} examples")
    assert sha256((data / "index.json").read_bytes()).hexdigest() in after
    with pytest.raises(InvalidInput, match=r"name the data sets that it began with \(one that was added to") as refused:
        Run(tmp_path / "run", {"data": after})
    assert f"data was {before}, is {after}; " in str(refused.value)
    assert described([data, data]) == f"{after}; {after}"
    assert described([]) == "made on the spot"


def test_a_bundle_whose_tokenizer_was_changed_since_is_refused_with_both_hashes(tmp_path: Path) -> None:
    bundle = shutil.copytree(debug_bundle(), tmp_path / "run" / "bundle")
    check_tokenizer(bundle)  # nobody knows what it was
    then = tokenizer_sha256(bundle)
    Run(tmp_path / "run", {"tokenizer": then})
    check_tokenizer(bundle)
    tokenizer = bundle / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    now = sha256(tokenizer.read_bytes()).hexdigest()
    with pytest.raises(InvalidInput, match=rf"sha256 {now}, .* says {then}: bring back the tokenizer\.json"):
        check_tokenizer(bundle)
    with pytest.raises(InvalidInput, match=rf"tokenizer was {then}, is {now}; bring back the tokenizer\.json"):
        Run(tmp_path / "run", {"tokenizer": now})


def test_a_run_says_of_which_revision_its_code_was(tmp_path: Path) -> None:
    """Of the sources themselves, also where an environment links to them."""
    Run(tmp_path / "run", {})
    made_by = json.loads((tmp_path / "run" / CONFIG).read_text())["made_by"]
    assert made_by["revision"] == git_state(Path(types.__file__).resolve().parent)
