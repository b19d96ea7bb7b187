"""The `alpamayo` command. It composes and nothing else: each command imports what it needs inside its function, so that
`alpamayo --help` answers at once. The last line on stdout is one JSON object with the figures."""

from __future__ import annotations

import json
import os
import signal
import sys

# Importing a module puts its commands into the program, in this order.
from alpamayo_ros.cli import bags, experiments, models, posttraining, training, trials, world  # noqa: F401
from alpamayo_ros.cli.app import MISSING, app


def main() -> None:
    """Entry point: exit status 0 only when the work was done, 2 when the input was refused, 1 when nobody reads the output."""
    # Cleans up as Ctrl-C does: nothing that is half written stays. Commands with an end of their own for it set it later.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        try:
            _run()
        except SystemExit:  # after --help, too
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("alpamayo: interrupted", file=sys.stderr)
        raise SystemExit(130) from None  # 128 + SIGINT, as shells count
    except BrokenPipeError:
        # Python flushes stdout once more when it exits (docs.python.org, signal, "Note on SIGPIPE").
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _run() -> None:
    try:
        figures = app.cli(prog="alpamayo", description="Seven cameras and odometry in, reasoned trajectories out.")
    except (ValueError, RuntimeError) as error:
        from alpamayo_ros.types import EngineFailure, InvalidInput, StaleInput

        if not isinstance(error, (InvalidInput, StaleInput, EngineFailure)):
            raise
        print(f"alpamayo: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"alpamayo: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in MISSING:
            raise
        print(f"alpamayo: this command needs {library}, which is not here: {MISSING[library]}", file=sys.stderr)
        raise SystemExit(2) from error
    print(json.dumps(figures))
