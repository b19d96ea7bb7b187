"""A planner that drives, a monitor that watches, and the vehicle between them, each a process, on a DDS domain of their own."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml

from alpamayo_ros.nodes.client import Lockstep, PlanCollector, client_node, engage, node_environment, node_process
from alpamayo_ros.profile import Rig, read_profile, read_rig
from alpamayo_ros.simulation.faults import engine
from alpamayo_ros.simulation.faults.judging import Said, is_nominal
from alpamayo_ros.simulation.faults.sending import HEIGHT, WIDTH, image_types
from alpamayo_ros.simulation.faults.vehicle import Vehicle, unchanged
from alpamayo_ros.types import EngineFailure

Clock = Literal["system", "simulated"]

SIMULATED_START_NS = 1_700_000_000_000_000_000
READY_S = 40.0
"""From the start of the planner's process to nominal, on a machine that has other things to do."""

STATES = ("init", "warmup", "nominal", "degraded", "stopping", "stopped", "silent")  # in the order of PlanStatus.msg
SOURCES = {0: "model", 1: "hold", 2: "stop"}  # as in UnicycleTrajectory.msg

STOP_AFTER_MS = 500.0
"""Five periods of the plans: the node's default for this rig."""


def small_rig() -> Rig:
    """The seven cameras of the shipped rig with tiny pictures, and odometry at 50 Hz."""
    described = read_rig("seven_camera").model_dump(mode="json")
    described["odometry"]["rate_hz"] = 50.0
    for camera in described["cameras"].values():
        camera |= {"width": WIDTH, "height": HEIGHT}
    return Rig.model_validate(described)


def write_inputs(folder: Path, rig: Rig) -> Mapping[str, object]:
    """Rig and profile as files, and the parameters of a planner that reads them."""
    (folder / "rig.yaml").write_text(yaml.safe_dump(rig.model_dump(mode="json"), sort_keys=False))
    profile = read_profile("seven_camera").model_dump(mode="json") | {"image_height": HEIGHT, "image_width": WIDTH}
    (folder / "profile.yaml").write_text(yaml.safe_dump(profile))
    return {"rig": folder / "rig.yaml", "profile": folder / "profile.yaml", "decode_threads": 1}


class Station:
    """See the module. Everything of one run that a fault may touch is undone by `restore`."""

    def __init__(self, folder: Path, clock: Clock, planner: str = "planner_node") -> None:
        """`planner`: the node's program. Starts nothing yet but the vehicle and the monitor; `restart` does."""
        self._folder, self._clock, self._program = folder, clock, planner
        self.rig = small_rig()
        self._parameters = {
            **write_inputs(folder, self.rig),
            "bundle": engine.NAME,
            "mode": "active",
            "use_sim_time": clock == "simulated",
        }
        self._order = folder / "order"
        self.order("")
        self._opened, self._of_run, self._of_planner = ExitStack(), ExitStack(), ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._read_bytes = 0  # of the monitor's report
        self._said: list[Said] = []
        self._taken = 0
        node = self._opened.enter_context(client_node("faults_vehicle"))
        self._hand = self._opened.enter_context(client_node("faults_hand"))
        self._link = Lockstep(node, image_types(self.rig))
        self._opened.callback(self._link.close)
        self._plans = PlanCollector(node)
        self._monitor = self._started_monitor()
        now_ns = SIMULATED_START_NS if clock == "simulated" else time.time_ns()
        self.vehicle = Vehicle(self.rig, self._link.publish, now_ns, self._link.clock if clock == "simulated" else None)
        self._opened.callback(self.vehicle.close)
        self.vehicle.start()

    @property
    def planner_pid(self) -> int:
        """The planner node's process. Raises EngineFailure when there is none."""
        if self._process is None:
            raise EngineFailure("no planner was started")
        return self._process.pid

    @property
    def monitor_pid(self) -> int:
        """The monitor node's process."""
        return self._monitor.pid

    @property
    def exit_status(self) -> int | None:
        """Of the planner's process; None while it runs."""
        return self._process.poll() if self._process else None

    @property
    def log(self) -> Path:
        """What the planner writes to its console."""
        return self._folder / "planner.log"

    def close(self) -> None:
        """End everything."""
        self.restore()
        self._of_planner.close()
        self._opened.close()

    def start_planner(self) -> None:
        """A planner's process in the place of the one there was; what was said before is forgotten."""
        self._of_planner.close()
        given = node_environment() | {engine.ORDER_FILE: str(self._order)}
        self._process = self._of_planner.enter_context(node_process(self._program, self._parameters, self.log, given))
        self.forget()

    def get_ready(self) -> None:
        """Drive until nominal and engaged. Raises EngineFailure with the planner's last words when that takes too long."""
        if not self.watch(lambda: is_nominal(self.said()), READY_S):
            raise EngineFailure(f"the planner is not nominal after {READY_S:g} s: {self.last_words()}")
        if self.said()[-1].engaged:
            return
        if refused := self.engage():
            raise EngineFailure(f"the planner is not engaged: {refused}")
        if not self.watch(lambda: bool(self.said()) and self.said()[-1].engaged and is_nominal(self.said()), READY_S):
            raise EngineFailure(f"the planner is not nominal when engaged: {self.last_words()}")

    def engage(self) -> str:
        """Let the planner drive, also again after a stop; why it does not, empty when it does."""
        return engage(self._hand)

    def watch(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Hear the planner until `done()` or the timeout; whether it is done."""
        return self._link.wait(done, timeout_s)

    def said(self) -> list[Said]:
        """All that the planner said since `forget`."""
        while self._taken < len(self._plans.order):
            at_s, topic, message = self._plans.order[self._taken]
            self._taken += 1
            if topic == "status":
                self._said.append(said(at_s, message))
        return self._said

    def forget(self) -> None:
        """Begin a new list of what was said."""
        for heard in (self._plans.trajectory, self._plans.candidates, self._plans.reasoning, self._plans.status):
            heard.clear()
        self._plans.order.clear()
        self._said, self._taken = [], 0
        gc.collect()

    def breaches(self) -> list[dict[str, Any]]:
        """What the monitor found since the last call. Raises EngineFailure when it has ended: nobody watched."""
        if self._monitor.poll() is not None:
            words = (self._folder / "monitor.log").read_text(errors="replace").strip().splitlines()
            raise EngineFailure(f"the monitor ended with status {self._monitor.returncode}: {' | '.join(words[-3:])}")
        report = self._folder / "monitor.jsonl"
        if not report.exists():
            return []
        with report.open("rb") as lines:
            lines.seek(self._read_bytes)
            new = lines.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def restore(self) -> None:
        """Lift whatever a fault may have left behind."""
        self.order("")
        if hasattr(self, "vehicle"):
            self.vehicle.passes = unchanged
        self._of_run.close()

    def order(self, words: str) -> None:
        """See Bench. Written whole or not at all."""
        whole = self._order.with_suffix(".new")
        whole.write_text(words)
        whole.replace(self._order)

    def engines(self) -> list[int]:
        """See Bench."""
        return [] if self._process is None else engines_of(self._process.pid)

    def stranger(self, topic: str, type_name: str) -> Callable[[bytes], None]:
        """See Bench."""
        node = self._of_run.enter_context(client_node(f"stranger_{len(topic)}_{time.monotonic_ns()}"))
        link = Lockstep(node, {topic: type_name})
        self._of_run.callback(link.close)
        return lambda cdr: link.publish(topic, cdr)

    def second_planner(self) -> None:
        """See Bench."""
        given = node_environment() | {engine.ORDER_FILE: str(self._order)}
        log = self._folder / "second_planner.log"
        self._of_run.enter_context(node_process(self._program, self._parameters, log, given))

    def deaf_listener(self) -> None:
        """See Bench."""
        PlanCollector(self._of_run.enter_context(client_node("deaf_listener")))

    def last_words(self) -> str:
        """Of the planner: its last statuses and the end of its log."""
        reasons = [f"{said.state}: {'; '.join(said.reasons)}" for said in self.said()[-2:]]
        return " | ".join([*reasons, *self.log.read_text(errors="replace").strip().splitlines()[-3:]])

    def _started_monitor(self) -> subprocess.Popen[bytes]:
        given = {
            "out": self._folder / "monitor.jsonl",
            "rig": self._folder / "rig.yaml",
            "use_sim_time": self._clock == "simulated",
            "parent": os.getpid(),
        }
        return self._opened.enter_context(node_process("monitor_node", given, self._folder / "monitor.log"))


def said(at_s: float, status: Any) -> Said:
    """A PlanStatus in words."""
    source = SOURCES.get(status.source, "none")
    return Said(at_s, STATES[status.state], source, status.valid, status.engaged, tuple(status.reasons))


def engines_of(pid: int) -> list[int]:
    """Engine processes of a node's process, as /proc knows them."""
    # Not /proc/PID/task/TID/children: it may leave some out (proc_pid_task_children(5)).
    processes = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [int(process.name) for process in processes if _is_engine_of(pid, process)]


def _is_engine_of(pid: int, process: Path) -> bool:
    try:
        parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        return parent == pid and b"alpamayo_ros.engine.worker" in (process / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_running(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def station(folder: Path, clock: Clock, planner: str = "planner_node") -> Iterator[Station]:
    """A station, closed at the end."""
    made = Station(folder, clock, planner)
    # A full collection of half a minute's messages stops the vehicle for 200 ms, which no vehicle does: it is made when they
    # are forgotten, and only then.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield made
    finally:
        gc.enable()
        gc.unfreeze()
        made.close()
