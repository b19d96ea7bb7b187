"""The real planner node drives, over DDS: the world waits for its answer to every picture, so that nothing depends on speed.

The node is in shadow, and what its supervisor lets through is driven: a plan, the course before where a plan was refused or is
held, the stop where there is one. Its watchdog is given time to look at every tick before the pictures of that tick come.

One node serves all drives. Between two of them /clock jumps to the next scenario's own time, which is a new epoch for the node
as a jump on a vehicle is: time does not just go on, because the seed of a plan is a function of its t0, and a scenario must be
driven the same way whatever was driven before it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from alpamayo_ros.bags import serialize
from alpamayo_ros.engine.client import MODEL_READY_S
from alpamayo_ros.engine.loading import bundle_name, bundle_profile
from alpamayo_ros.evaluation.replay import DEFAULT
from alpamayo_ros.nodes.client import Lockstep, PlanCollector, client_node, node_environment, node_process
from alpamayo_ros.pipeline import decode
from alpamayo_ros.profile import Rig
from alpamayo_ros.reasoning import consistent, meta_actions, parse_trace
from alpamayo_ros.simulation.closed_loop.engines import senses
from alpamayo_ros.simulation.closed_loop.sensors import Sensed, Sensors
from alpamayo_ros.simulation.closed_loop.settings import LoopSettings, timing_of
from alpamayo_ros.simulation.episode import Planned
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import Snapshot
from alpamayo_ros.types import EngineFailure, InvalidInput, Plan, Request, Trajectory

READY_S = 60.0  # from the start of the node's process until it listens, besides what its engine's model takes to load
SETTLE_S = 0.3  # a publisher knows its subscriber before the subscriber knows it
AGAIN_S = 0.3  # a tick that was not answered by then is sent again: the node drops what it has
TAKEN_S = 10.0
WORD_S = 0.5
"""What the watchdog is waited for at most, where it may have something to say: it looks every 20 ms."""

DIED = "the engine's process"
"""In the words of a refusal: not this t0 was refused, but the engine is gone."""


class NodePolicy:
    """The planner node in a process of its own. One that failed a drive is replaced for the next one.

    Raises InvalidInput for a node that does not get ready, with its last words, and for what `Sensors` refuses.
    """

    def __init__(self, bundle: str, rig: Rig, profile: str, settings: LoopSettings, request: Request = DEFAULT) -> None:
        self.name = bundle_name(bundle)
        self._sensors = Sensors(bundle_profile(bundle, profile), rig, settings)
        self.senses = f"{senses(self._sensors)}; over DDS"
        timing = timing_of(self._sensors.rig, settings)
        limits = {"stop_after_ms": timing.stop_after_ns / 1e6, "max_plan_age_ms": timing.max_age_ns / 1e6}
        self._parameters = {"bundle": bundle, "profile": profile, **_parameters(request, settings), **limits}
        self._patience_s = settings.deadline_s + TAKEN_S
        self._now: Snapshot | None = None
        self._node: _Node | None = None
        try:
            self._running()
        except EngineFailure as error:
            raise InvalidInput(f"bundle {bundle} cannot be driven over DDS: {error}") from error

    def begin(self, scenario: Scenario) -> None:
        """See Policy."""
        self._or_none(lambda node: node.begin(list(self._sensors.begin(scenario)), self._sensors.stamp_ns(0.0)))

    def see(self, snapshot: Snapshot) -> None:
        """See Policy. Returns when the node has answered to the pictures, if there are any."""
        self._now = snapshot
        stamp_ns, sensed = self._sensors.stamp_ns(snapshot.t_s), list(self._sensors.sense(snapshot))
        self._or_none(lambda node: node.see(stamp_ns, sensed, self._patience_s))

    def plan(self) -> Planned:
        """See Policy. Raises EngineFailure when the node's engine died or hung."""
        assert self._now is not None
        assert self._node is not None
        now, t0_ns = self._now, self._sensors.stamp_ns(self._now.t_s)
        if refused := self._node.refusal(t0_ns):
            if DIED in refused:
                self.close()
                raise EngineFailure(refused)
            return Planned(now.t_s, now.ego, self._node.stop(t0_ns), refused=refused)
        plan = self._node.plan(t0_ns)
        return Planned(now.t_s, now.ego, plan.trajectory, plan)

    def close(self) -> None:
        """See Policy."""
        if self._node is not None:
            self._node.close()
        self._node = None

    def _running(self) -> _Node:
        if self._node is None:
            self._node = _Node(self._parameters, self._sensors.rig, self._sensors.types)
        return self._node

    def _or_none(self, do: Callable[[_Node], None]) -> None:
        """Something with the node; one that fails is given up."""
        try:
            do(self._running())
        except EngineFailure:
            self.close()
            raise


class _Node:
    """A planner node's process that listens, and this side of it. Raises EngineFailure with its last words."""

    def __init__(self, parameters: Mapping[str, object], rig: Rig, types: Mapping[str, str]) -> None:
        # This process publishes pictures: more than the shared memory that Fast DDS takes by itself.
        profiles = "FASTDDS_DEFAULT_PROFILES_FILE"
        os.environ.setdefault(profiles, node_environment()[profiles])  # noqa: TID251 - where Fast DDS looks
        self._unanswered: list[tuple[str, bytes]] = []  # of this tick: older odometry would be a jump of time
        with ExitStack() as opened:
            folder = Path(opened.enter_context(TemporaryDirectory(prefix="alpamayo_world_")))
            (folder / "rig.yaml").write_text(yaml.safe_dump(rig.model_dump(mode="json"), sort_keys=False))
            self._log = folder / "planner.log"
            given = {**parameters, "rig": folder / "rig.yaml", "use_sim_time": True}
            self._process = opened.enter_context(node_process("planner_node", given, self._log))
            ros = opened.enter_context(client_node("alpamayo_world"))
            self._odometry = rig.odometry.topic
            self._link = Lockstep(ros, types)
            opened.callback(self._link.close)
            self._plans = PlanCollector(ros)
            self._get_ready()
            self.close = opened.pop_all().close

    def begin(self, published: Sequence[Sensed], start_ns: int) -> None:
        """Another drive: the clock jumps, then what is published once. Raises EngineFailure."""
        self._link.clock(start_ns)
        self._expect_taken()
        for said in (self._plans.status, *self._of_plan(), self._plans.order):
            said.clear()  # the stamps may come again
        self._send(published)

    def see(self, now_ns: int, sensed: Sequence[Sensed], patience_s: float) -> None:
        """A tick; with pictures, wait for the answer to them. Raises EngineFailure."""
        self._unanswered = []
        self._send([one for one in sensed if one.topic == self._odometry])
        self._expect_taken()  # a stop begins at the newest pose: it must be that of this tick when time goes on
        said = len(self._plans.status)
        self._link.clock(now_ns)
        self._send([one for one in sensed if not one.is_picture and one.topic != self._odometry])
        self._expect_taken()  # with the last picture the node begins, so what else it is to know comes before
        self._let_watchdog_speak(said)
        if pictures := [one for one in sensed if one.is_picture]:
            self._send(pictures)
            self._wait_for_answer(now_ns, patience_s)

    def refusal(self, t0_ns: int) -> str:
        """Why no plan was published for a t0 whose pictures were seen; empty when one was."""
        status = self._answer(t0_ns)
        return "" if status.valid else "; ".join(status.reasons) or "no reason was given"

    def plan(self, t0_ns: int) -> Plan:
        """The plan for a t0 that was not refused."""
        return plan_from_messages(*(self._said(said, t0_ns) for said in self._of_plan()))

    def stop(self, stamp_ns: int) -> Trajectory | None:
        """The stop from where the vehicle is at a stamp, if one was published."""
        found = self._stop(stamp_ns)
        return None if found is None else decode.trajectory_values(found)

    def _get_ready(self) -> None:
        deadline_s = time.monotonic() + READY_S + MODEL_READY_S
        while not (self._link.wait(self._link.is_heard, 1.0) and self._link.is_taken(1.0)):
            self._check_alive()
            if time.monotonic() > deadline_s:
                raise EngineFailure(f"the planner node does not listen; its last words: {self._last_words()}")
        self._link.wait(lambda: False, SETTLE_S)

    def _send(self, sensed: Sequence[Sensed]) -> None:
        packed = [(one.topic, serialize(one.message, one.type_name)) for one in sensed]
        self._unanswered += packed
        for topic, cdr in packed:
            self._link.publish(topic, cdr)

    def _wait_for_answer(self, t0_ns: int, patience_s: float) -> None:
        deadline_s = time.monotonic() + patience_s
        while not self._link.wait(lambda: self._is_answered(t0_ns), AGAIN_S):
            self._check_alive()
            if time.monotonic() > deadline_s:
                raise EngineFailure(f"the planner node said nothing for {patience_s:g} s; its last words: {self._last_words()}")
            self._link.clock(t0_ns)
            for topic, cdr in self._unanswered:
                self._link.publish(topic, cdr)

    def _is_answered(self, t0_ns: int) -> bool:
        status = self._answer(t0_ns)
        if status is None:
            return False
        if status.valid:
            return all(self._said(said, t0_ns) for said in self._of_plan())
        return status.state != status.STATE_STOPPING or self._stop(t0_ns) is not None

    def _let_watchdog_speak(self, said: int) -> None:
        """After time went on: a hold and a stop are published again and again, and begin when nothing else is said."""
        newest = self._plans.status[said - 1] if said else None
        if newest is None or newest.state not in (newest.STATE_DEGRADED, newest.STATE_STOPPING):
            return
        if not (newest.valid and newest.stages):  # no plan of a cycle
            self._link.wait(lambda: len(self._plans.status) > said, WORD_S)

    def _answer(self, t0_ns: int) -> Any:
        """The status of a cycle, or None; those of holds and stops have no stages."""
        return self._said([status for status in self._plans.status if status.stages], t0_ns)

    def _stop(self, stamp_ns: int) -> Any:
        return self._said([one for one in self._plans.trajectory if one.source == one.SOURCE_STOP], stamp_ns)

    def _of_plan(self) -> tuple[list[Any], list[Any], list[Any]]:
        return self._plans.trajectory, self._plans.candidates, self._plans.reasoning

    def _said(self, messages: Sequence[Any], t0_ns: int) -> Any:  # the newest, or None
        return next((said for said in reversed(messages) if decode.stamp_ns(said.header.stamp) == t0_ns), None)

    def _expect_taken(self) -> None:
        deadline_s = time.monotonic() + TAKEN_S
        while not self._link.is_taken(AGAIN_S):
            self._check_alive()
            if time.monotonic() > deadline_s:
                raise EngineFailure(f"the planner node serves nothing for {TAKEN_S:g} s; its last words: {self._last_words()}")

    def _check_alive(self) -> None:
        if (status := self._process.poll()) is not None:
            raise EngineFailure(f"the planner node ended with status {status}; its last words: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "none"


def _parameters(request: Request, settings: LoopSettings) -> dict[str, object]:
    """How the node is to plan: as it would in process, and in no hurry. Raises InvalidInput for what it cannot be asked."""
    if request.trajectory != "flow":
        raise InvalidInput(f"the planner node gives trajectories of the flow, not {request.trajectory}")
    asked = {name: value for name, value in asdict(request).items() if name != "trajectory"}
    return asked | {"deadline_ms": settings.deadline_s * 1e3, "max_wait_ms": 1000.0, "decode_threads": 1}


def plan_from_messages(trajectory: Any, candidates: Any, reasoning: Any) -> Plan:
    """A plan from what the node published of it, by the rules that it was made by. Raises InvalidInput."""
    chosen = decode.trajectory_values(trajectory)
    trace = parse_trace(reasoning.text, reasoning.tokens, reasoning.complete, reasoning.stated_meta_actions)
    v0_mps = float(chosen.speed_mps[0] - chosen.accel_mps2[0] * chosen.t_s[0])
    actions = meta_actions(chosen, v0_mps)
    return Plan(
        t0_ns=decode.stamp_ns(trajectory.header.stamp),
        epoch=0,  # of the drive; the node's counts those before
        source="model",
        provisional=trajectory.provisional,
        trajectory=chosen,
        candidates=tuple(decode.trajectory_values(candidate) for candidate in candidates.candidates),
        chosen=candidates.chosen_index,
        scores=tuple(candidate.score for candidate in candidates.candidates),
        reasoning=trace,
        meta_actions=actions,
        consistent=consistent(trace.decision, actions),
    )
