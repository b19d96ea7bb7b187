"""What the package never does, read from its source, and the access policy held against the documents."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from alpamayo_ros.profile import read_rig, shared_files

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "alpamayo_ros"
SOURCES = sorted(PACKAGE.rglob("*.py"))

FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all", "yaml.full_load_all"),
    *("torch.load", "torch.hub.load", "numpy.load_pickle", "os.system", "os.popen", "pty.spawn"),
    *("subprocess.getoutput", "subprocess.getstatusoutput"),
}
FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "telnetlib",
    "ftplib",
    "http.server",
}
TRUE_IS_FORBIDDEN = {"shell", "trust_remote_code", "allow_pickle"}
OPENS_PORTS = {"bind", "listen", "create_server", "add_insecure_port", "add_secure_port", "serve_forever"}


def dotted(node: ast.expr) -> str:
    """`a.b.c` of such an expression, `?.c` of the method of anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def calls(source: str) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def findings(source: str) -> list[str]:
    """What of the forbidden a source does."""
    found = [name for node in ast.walk(ast.parse(source)) for name in imported(node) if name.split(".")[0] in FORBIDDEN_MODULES]
    for call in calls(source):
        found += [dotted(call.func)] if dotted(call.func) in FORBIDDEN_CALLS else []
        found += [key.arg for key in call.keywords if key.arg in TRUE_IS_FORBIDDEN and not is_false(key.value)]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_source_runs_what_it_reads(path: Path) -> None:
    assert findings(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        *("import pickle", "from pickle import loads", "import yaml\nyaml.load(x, Loader=yaml.Loader)", "eval('1')", "exec(x)"),
        *(
            "import torch\ntorch.load(p)",
            "subprocess.run(x, shell=True)",
            "np.load(p, allow_pickle=True)",
            "f(trust_remote_code=flag)",
        ),
    ],
)
def test_the_rule_notices(line: str) -> None:
    assert findings(line)


def test_nothing_opens_a_port_but_the_alpasim_driver_on_its_own_machine() -> None:
    found = [
        (str(path.relative_to(PACKAGE)), dotted(call.func))
        for path in SOURCES
        for call in calls(path.read_text())
        if dotted(call.func).split(".")[-1] in OPENS_PORTS
    ]
    assert found == [("simulation/alpasim/server.py", "server.add_insecure_port")]


def test_no_parameter_and_no_log_holds_a_token() -> None:
    """The Hub's token comes from the environment or huggingface_hub's own store, read by that library alone."""
    for path in SOURCES:
        text = path.read_text()
        assert not re.search(r"HF_TOKEN['\"\]]|HUGGING_?FACE_?HUB_?TOKEN|get_token\(|token\s*=\s*(os|args|params)", text), path
    keys = re.findall(r"^ *(\w+):", (ROOT / "config" / "planner.yaml").read_text(), re.MULTILINE)
    assert [key for key in keys if "token" in key or "secret" in key or "password" in key] == ["max_tokens"]


def test_every_yaml_of_ours_is_read_by_the_safe_loader() -> None:
    """The `Reader` of rosbags is safe, too: test_bags.py has a bag with a Python object."""
    loads = [path for path in SOURCES if re.search(r"\byaml\.\w*load", path.read_text())]
    assert loads
    assert all(set(re.findall(r"\byaml\.(\w*load\w*)", path.read_text())) == {"safe_load"} for path in loads)


# ------------------------------------------------------------------------------------------------------------- access policy

POLICY = ET.parse(shared_files() / "config" / "sros2" / "policy.xml").getroot()  # noqa: S314 - our own file
RULES = {"topics": ("topic", {"publish", "subscribe"}), "services": ("service", {"reply", "request"})}
OF_EVERY_NODE = {"/rosout", "/parameter_events"}
NOT_IN_THE_TABLES = {"/alpamayo_planner/transition_event", "/clock"}
"""Of lifecycle nodes, and of any node with simulated time."""


def allowed(node: str, kind: str, verb: str) -> set[str]:
    """Full names that a node's profile allows."""
    profiles = [p for p in POLICY.iter("profile") if p.get("node") == node]
    assert len(profiles) == 1, node
    blocks = [b for b in profiles[0].iter(kind) if verb in b.attrib]
    return {(e.text or "").replace("~", f"/{node}") for b in blocks for e in b}


def documented(section: str, heading: str) -> set[str]:
    """First-column names of a table of docs/nodes.md, as full names: `~/x` and `/x`, ROLE kept."""
    text = (ROOT / "docs" / "nodes.md").read_text()
    part = text.split(f"(`{section}`)", 1)[1].split("\n## ", 1)[0]
    table = part.split(f"\n| {heading} | type |", 1)[1].split("\n\n", 1)[0]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    names = [name for cell in cells for name in re.findall(r"`([~/][\w/~.]*)`", cell)]
    return {name.replace("~", f"/{section}") for name in names}


def test_the_policy_has_the_schemas_elements_and_allows_only() -> None:
    """policy.xsd of sros2, version 0.2.0: what its elements and attributes are; without a rule nothing is allowed."""
    assert (POLICY.tag, POLICY.attrib) == ("policy", {"version": "0.2.0"})
    assert [child.tag for child in POLICY] == ["enclaves"]
    for enclave in POLICY[0]:
        assert (enclave.tag, set(enclave.attrib)) == ("enclave", {"path"})
        assert [child.tag for child in enclave] == ["profiles"]
        for profile in enclave[0]:
            assert (profile.tag, set(profile.attrib)) == ("profile", {"ns", "node"})
            for block in profile:
                item, verbs = RULES[block.tag]
                assert len(block.attrib) == 1
                assert set(block.attrib) <= verbs
                assert set(block.attrib.values()) == {"ALLOW"}
                names = [(entry.tag, entry.text) for entry in block]
                assert names
                assert len(set(names)) == len(names)
                assert all(tag == item and re.fullmatch(r"(~/|/)[A-Za-z0-9_/]+", name or "") for tag, name in names), names


def test_the_planner_may_publish_what_is_documented_and_nothing_else() -> None:
    shadow_outputs = {f"/alpamayo_planner/shadow/output/{n}" for n in ("trajectory", "trajectories", "scored_trajectories")}
    said = {name for name in documented("alpamayo_planner", "out") if not name.endswith("...")} | shadow_outputs
    may = allowed("alpamayo_planner", "topics", "publish") - OF_EVERY_NODE - NOT_IN_THE_TABLES
    assert may == said


def test_the_planner_may_hear_its_rig_and_what_is_documented_and_nothing_else() -> None:
    rig = read_rig("seven_camera")
    said = documented("alpamayo_planner", "in") | {rig.odometry.topic, *(camera.topic for camera in rig.cameras.values())}
    assert allowed("alpamayo_planner", "topics", "subscribe") - OF_EVERY_NODE == said | {"/clock"}


def test_the_visualizer_may_publish_what_is_documented_and_nothing_else() -> None:
    roles = read_rig("seven_camera").cameras
    said = {
        filled
        for name in documented("alpamayo_visualizer", "out")
        for filled in ([name.replace("ROLE", role) for role in roles] if "ROLE" in name else [name])
    }
    assert allowed("alpamayo_visualizer", "topics", "publish") - OF_EVERY_NODE == said


def test_only_the_planner_may_say_where_to_drive_and_only_the_operator_may_engage_it() -> None:
    nodes = [str(profile.get("node")) for profile in POLICY.iter("profile")]
    for name in sorted(documented("alpamayo_planner", "out") - {"/diagnostics"}):
        if not name.endswith("..."):
            assert [n for n in nodes if name in allowed(n, "topics", "publish")] == ["alpamayo_planner"], name
    for service in ("engage", "disengage"):
        full = f"/alpamayo_planner/{service}"
        assert full in allowed("alpamayo_planner", "services", "reply")
        assert [n for n in nodes if full in allowed(n, "services", "request")] == ["alpamayo_operator"]


def test_monitor_and_recorder_can_change_nothing() -> None:
    assert allowed("alpamayo_monitor", "topics", "publish") - OF_EVERY_NODE == {"/diagnostics", "/alpamayo_monitor/breach"}
    assert allowed("alpamayo_recorder", "topics", "publish") - OF_EVERY_NODE == set()
    for node in ("alpamayo_monitor", "alpamayo_recorder", "alpamayo_visualizer", "alpamayo_replay"):
        assert allowed(node, "services", "request") == set()
