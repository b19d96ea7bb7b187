"""What runs on an accelerator alone: `make gpu-test`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from model.nano import SHIPPED


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bundle", metavar="DIR", help="a bundle that is built, compared and timed beside the shipped ar1_nano")
    parser.addoption("--reference", metavar="DIR", help="a clone of NVlabs/alpamayo, which answers beside ours")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "built" in metafunc.fixturenames:
        given = metafunc.config.getoption("--bundle", default=None)
        folders = [SHIPPED, *([Path(given).resolve()] if given else [])]
        metafunc.parametrize("built", folders, ids=[folder.name for folder in folders], indirect=True, scope="module")


@pytest.fixture(scope="module")
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle into which engines may be built: its files are links, however large they are, and the engines in it are not."""
    if not torch.cuda.is_available():
        pytest.skip("no accelerator on this machine")
    folder = tmp_path_factory.mktemp("built") / request.param.name
    return shutil.copytree(request.param, folder, copy_function=os.symlink, ignore=shutil.ignore_patterns("engines"))


@pytest.fixture(autouse=True)
def gpu() -> torch.device:
    """The accelerator; without one these tests are skipped."""
    if not torch.cuda.is_available():
        pytest.skip("no accelerator on this machine")
    return torch.device("cuda")
