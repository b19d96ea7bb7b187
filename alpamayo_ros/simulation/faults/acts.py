"""What a fault does while it acts: to messages on their way out, and to the planner's processes."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from alpamayo_ros.simulation.faults.engine import NO_START
from alpamayo_ros.simulation.faults.sending import Sent
from alpamayo_ros.simulation.faults.vehicle import CRUISE_MPS, Passing, Vehicle, unchanged


class Bench(Protocol):
    """What an act may lay hands on."""

    @property
    def vehicle(self) -> Vehicle:
        """Who publishes."""

    @property
    def planner_pid(self) -> int:
        """The planner node's process."""

    def engines(self) -> Sequence[int]:
        """Its engine's processes."""

    def order(self, words: str) -> None:
        """Tell the engine, of now and of later, what to do; "" is to work."""

    def stranger(self, topic: str, type_name: str) -> Callable[[bytes], None]:
        """Another node that publishes on a topic, until the run ends."""

    def second_planner(self) -> None:
        """Start another planner node of the same name, until the run ends."""

    def deaf_listener(self) -> None:
        """A subscriber of everything the planner says that takes nothing, until the run ends."""


Deed = Callable[[Bench], None]


def nothing(_: Bench) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Act:
    """A fault at work: `begin`, then every message through `passes`, then `end`. `prepare` takes time: it comes long before."""

    passes: Passing = unchanged
    prepare: Deed = nothing
    begin: Deed = nothing
    end: Deed = nothing


def told(words: str) -> Act:
    """The engine is told to misbehave."""
    return Act(begin=lambda bench: bench.order(words), end=lambda bench: bench.order(""))


def killed_engine() -> Act:
    """kill -9 of the engine; the next one does not get ready before the fault is lifted."""

    def begin(bench: Bench) -> None:
        bench.order(NO_START)
        signal_all(bench.engines(), signal.SIGKILL)

    return Act(begin=begin, end=lambda bench: bench.order(""))


def stopped_engine() -> Act:
    """SIGSTOP of the engine: it hangs, with everything it holds. The next one does not get ready before the fault is lifted."""

    def begin(bench: Bench) -> None:
        bench.order(NO_START)
        signal_all(bench.engines(), signal.SIGSTOP)

    return Act(begin=begin, end=lambda bench: bench.order(""))


def ended(number: int) -> Act:
    """The planner's own process gets a signal."""
    return Act(begin=lambda bench: signal_all([bench.planner_pid], number))


def frozen_planner() -> Act:
    """The planner's process is stopped, and goes on when the fault is lifted."""
    return Act(
        begin=lambda bench: signal_all([bench.planner_pid], signal.SIGSTOP),
        end=lambda bench: signal_all([bench.planner_pid], signal.SIGCONT),
    )


def starved_planner(off_ms: float, on_ms: float) -> Act:
    """The planner's process runs only a share of the time, in turns: as on a machine with too much to do."""
    lifted = threading.Event()

    def starve(pid: int) -> None:
        while not lifted.is_set():
            signal_all([pid], signal.SIGSTOP)
            lifted.wait(off_ms / 1e3)
            signal_all([pid], signal.SIGCONT)
            lifted.wait(on_ms / 1e3)

    def begin(bench: Bench) -> None:
        threading.Thread(target=starve, args=(bench.planner_pid,), daemon=True).start()

    return Act(begin=begin, end=lambda _: lifted.set())


def full_disk() -> Act:
    """No file that the planner writes can grow."""

    def begin(bench: Bench) -> None:
        _, most = resource.prlimit(bench.planner_pid, resource.RLIMIT_FSIZE)
        resource.prlimit(bench.planner_pid, resource.RLIMIT_FSIZE, (4096, most))

    def end(bench: Bench) -> None:
        _, most = resource.prlimit(bench.planner_pid, resource.RLIMIT_FSIZE)
        resource.prlimit(bench.planner_pid, resource.RLIMIT_FSIZE, (most, most))

    return Act(begin=begin, end=end)


def clock_steps(seconds: float) -> Act:
    """Simulated time jumps, once."""

    def begin(bench: Bench) -> None:
        bench.vehicle.offset_ns += round(seconds * 1e9)

    return Act(begin=begin)


def loops(seconds: float) -> Act:
    """Simulated time and the vehicle go back, as a bag that begins again."""

    def begin(bench: Bench) -> None:
        bench.vehicle.offset_ns -= round(seconds * 1e9)
        bench.vehicle.motion.along_m -= CRUISE_MPS * seconds

    return Act(begin=begin)


def stopped_clock() -> Act:
    """Simulated time stands still, and with it the vehicle: a player that is paused."""

    def pause(*, paused: bool) -> Deed:
        def tell(bench: Bench) -> None:
            bench.vehicle.paused = paused

        return tell

    return Act(begin=pause(paused=True), end=pause(paused=False))


def teleported(metres: float, radians: float) -> Act:
    """Odometry has another origin from now on."""

    return Act(begin=lambda bench: bench.vehicle.motion.teleport(metres, radians))


def stands() -> Act:
    """The vehicle brakes to a stand, and drives off when the fault is lifted."""

    def want(speed_mps: float) -> Deed:
        def tell(bench: Bench) -> None:
            bench.vehicle.motion.wanted_mps = speed_mps

        return tell

    return Act(begin=want(0.0), end=want(CRUISE_MPS))


def echoed(sources: Collection[str], type_name: str, change: Passing) -> Act:
    """Another node publishes on the same topics: every message again, changed."""
    senders: dict[str, Callable[[bytes], None]] = {}

    def prepare(bench: Bench) -> None:
        rig = bench.vehicle.rig
        topics = {role: camera.topic for role, camera in rig.cameras.items()} | {"odometry": rig.odometry.topic}
        senders.update({source: bench.stranger(topics[source], type_name) for source in sources})

    def passes(sent: Sent) -> Iterable[Sent]:
        if sent.source in senders:
            for other in change(sent):
                senders[sent.source](other.cdr)
        return (sent,)

    return Act(passes=passes, prepare=prepare)


def signal_all(pids: Collection[int], number: int) -> None:
    """Send a signal to processes, whichever are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
