"""The graph as it is now: examined by the doctor, or recorded."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from alpamayo_ros.bags import bag_topics
from alpamayo_ros.evaluation.doctor.diagnosis import Diagnosis, diagnose
from alpamayo_ros.evaluation.doctor.facts import COMPRESSED, INFO, ODOMETRY, RAW, STATIC_TOPIC, Collector
from alpamayo_ros.nodes.client import Listener, Published, client_node, node_process, published, spin_until, stop, unheard
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import EngineFailure, InvalidInput

SETTLE_S = 0.5
"""From the first topic seen to listening: the publishers of a vehicle become known one after the other."""

MAX_S = 86_400.0
START_S = 30.0
INDEX_S = 60.0
"""How long a recorder may write what it still has before it is killed."""

_TOPIC_CHARACTERS = re.compile(r"[A-Za-z0-9_/~{}]+")
_SENSOR_TYPES = (COMPRESSED, RAW, ODOMETRY)
_SHOWN_TOPICS = 5


def examine_graph(rig: Rig | None, seconds: float) -> Diagnosis:
    """Diagnose what is published within `seconds`, against a rig where one is given. Raises InvalidInput when nothing is."""
    _check_seconds(seconds)
    declared = _declared_topics(rig)
    heard = set()
    with client_node("alpamayo_doctor") as node:
        domain = node.context.get_domain_id()
        if not spin_until(node, lambda: bool(_concerning(published(node), declared)), seconds):
            raise InvalidInput(_nothing(published(node), domain, seconds))
        spin_until(node, lambda: False, SETTLE_S)
        listener = Listener(node, _is_wanted)
        time_kind = "simulated" if "/clock" in published(node) else "system"
        collector = Collector(f"ROS domain {domain} for {seconds:g} s, {time_kind} time", rig)
        for record in listener.records(seconds):
            heard.add(record.topic)
            collector.take(record)
        problems = list(dict.fromkeys(unheard(node, _concerning(listener.topics, declared))))
    for topic, offer in listener.topics.items():
        if topic not in heard | declared and not set(offer.types).isdisjoint(_SENSOR_TYPES):
            problems.append(f"{topic}: published, but no message came in {seconds:g} s")
    types = {topic: _type_of(topic, offer) for topic, offer in listener.topics.items()}
    diagnosis = diagnose(collector.facts(types, {topic: offer.qos for topic, offer in listener.topics.items()}), rig)
    return replace(diagnosis, problems=(*problems, *diagnosis.problems))


def record_graph(out: Path, topics: Sequence[str], seconds: float | None, use_sim_time: bool) -> dict[str, Any]:
    """Record into the new folder `out` until SIGINT, SIGTERM or `seconds` have passed; no topic named is every one.

    Raises InvalidInput, and EngineFailure when the recorder does not start or fails: what it had is in `out`.
    """
    if seconds is not None:
        _check_seconds(seconds)
    if wrong := [name for name in topics if not _TOPIC_CHARACTERS.fullmatch(name)]:
        raise InvalidInput(f"topics: {wrong[0]!r} is not a topic name: want letters, digits, _ and /, as in /tf_static")
    if out.exists():
        raise InvalidInput(f"{out} exists: want a folder that can be made")
    parameters = {"out": out.resolve(), "topics": list(topics), "use_sim_time": use_sim_time, "parent": os.getpid()}
    with tempfile.TemporaryDirectory() as folder, _asked_to_stop() as asked:
        log = Path(folder) / "log"
        with node_process("recorder_node", parameters, log) as process:
            _wait_while_recording(process, out, math.inf if seconds is None else seconds, asked)
            stop(process, INDEX_S)
        said = log.read_text().strip() or "it said nothing"
    if process.returncode or not out.exists():
        kept = "" if (out / "metadata.yaml").exists() else f"; `alpamayo recover {out} OUT` makes a bag of what it left"
        last = said.splitlines()[-1]
        raise EngineFailure(f"the recorder ended with status {process.returncode}: {last}{kept if out.exists() else ''}")
    print(said)
    counts = {name: topic.count for name, topic in bag_topics(out).items()}
    return {"messages": sum(counts.values()), "topics": counts, "files": sorted(str(file) for file in out.iterdir())}


def _wait_while_recording(process: subprocess.Popen[bytes], out: Path, seconds: float, asked: threading.Event) -> None:
    """Return when the recorder has recorded for `seconds`, ended, or does not begin, or when it is asked to stop."""
    give_up_at = time.monotonic() + START_S
    while not out.exists() and process.poll() is None and time.monotonic() < give_up_at:
        time.sleep(0.02)  # a recorder that is starting cannot be interrupted cleanly yet
    stop_at = time.monotonic() + seconds
    while out.exists() and process.poll() is None and time.monotonic() < stop_at and not asked.wait(0.1):
        pass


def _is_wanted(topic: str, type_name: str) -> bool:
    return topic == STATIC_TOPIC or type_name in (*_SENSOR_TYPES, INFO)


def _type_of(topic: str, offer: Published) -> str:
    """The type that the doctor listens to; where that is none, what is published."""
    return next((name for name in offer.types if _is_wanted(topic, name)), offer.types[0])


def _declared_topics(rig: Rig | None) -> set[str]:
    return {rig.odometry.topic, *(camera.topic for camera in rig.cameras.values())} if rig else set()


def _concerning(topics: Mapping[str, Published], declared: set[str]) -> list[str]:
    """Topics that a planner, or who listens to one, has to do with."""
    return [
        topic
        for topic, offer in topics.items()
        if topic in declared or any(_is_wanted(topic, t) or t.startswith("alpamayo_ros/") for t in offer.types)
    ]


def _nothing(topics: Mapping[str, Published], domain: int, seconds: float) -> str:
    names = [topic for topic in topics if topic not in ("/rosout", "/parameter_events")]
    others = f"only {', '.join(names[:_SHOWN_TOPICS])}" if names else "nothing else either"
    more = f" and {len(names) - _SHOWN_TOPICS} more" if len(names) > _SHOWN_TOPICS else ""
    return (
        f"in {seconds:g} s nobody published an image, camera_info, odometry or {STATIC_TOPIC} on ROS_DOMAIN_ID {domain}, "
        f"{others}{more}: set ROS_DOMAIN_ID and ROS_AUTOMATIC_DISCOVERY_RANGE as on the vehicle, or name a bag"
    )


def _check_seconds(seconds: float) -> None:
    if not 0 < seconds <= MAX_S:
        raise InvalidInput(f"seconds: want 0 < seconds <= {MAX_S:g}, got {seconds:g}")


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """An event that is set by Ctrl-C, by SIGTERM, and when the terminal is closed."""
    asked = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
