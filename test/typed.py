"""Commands as somebody would type them, in this process: a new one takes a second, and with torch three."""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest

from alpamayo_ros import cli


class Said(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str


def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> Said:
    """What `alpamayo WORDS` says."""
    monkeypatch.setattr(sys, "argv", ["alpamayo", *map(str, words)])
    status = 0
    try:
        cli.main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    return Said(status, *capsys.readouterr())
