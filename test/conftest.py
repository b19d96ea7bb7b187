"""How many examples Hypothesis tries: 100 a test, 10,000 with `pytest --hypothesis-profile=thorough`.

No deadline: how long an example takes says how loaded the machine is. A profile given on the command line wins.
"""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("ci", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("ci"), max_examples=10_000)
settings.load_profile("ci")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Who asks for nodes alone (`-m "ros ..."`) need not wait until what every other test needs is imported."""
    wants_nodes_alone = config.getoption("markexpr").startswith("ros")
    if wants_nodes_alone and collection_path.suffix == ".py" and "mark.ros" not in collection_path.read_text():
        return True
    return None
