from __future__ import annotations

import importlib
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from alpamayo_ros.bags import (
    BagWriter,
    Record,
    bag_span,
    bag_topics,
    define,
    deserialize,
    message,
    read_bag,
    recover,
    serialize,
    type_hash,
)
from alpamayo_ros.profile import shared_files
from alpamayo_ros.types import InvalidInput

OURS = sorted(f"alpamayo_ros/msg/{path.stem}" for path in (shared_files() / "msg").glob("*.msg"))
SECOND = 1_000_000_000


def make(type_name: str, **fields: Any) -> Any:
    return message(type_name.replace("/", "/msg/"))(**fields)


def header(stamp_ns: int = 7 * SECOND + 5, frame: str = "base_link") -> Any:
    stamp = make("builtin_interfaces/Time", sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)
    return make("std_msgs/Header", stamp=stamp, frame_id=frame)


def pose(x: float) -> Any:
    turn = make("geometry_msgs/Quaternion", x=0.0, y=0.0, z=0.6, w=0.8)
    return make("geometry_msgs/Pose", position=make("geometry_msgs/Point", x=x, y=-0.5, z=0.0), orientation=turn)


def trajectory(points: int = 64) -> Any:
    return make(
        "alpamayo_ros/UnicycleTrajectory",
        header=header(),
        epoch=3,
        source=0,
        provisional=True,
        odom_from_ego_t0=make("geometry_msgs/PoseStamped", header=header(frame="odom"), pose=pose(12.5)),
        points=[
            make(
                "alpamayo_ros/TrajectoryPoint",
                time_from_start_ns=(k + 1) * 100_000_000,
                pose=pose(0.1 * k),
                speed_mps=1.0 + k,
                acceleration_mps2=-0.25,
                curvature_1pm=0.01,
                heading_rate_rps=0.02,
            )
            for k in range(points)
        ],
        plan_id=2**40,
        sample_index=5,
        score=0.5,
    )


def image(stamp_ns: int, data: bytes = b"\xff\xd8jpeg\xff\xd9") -> Any:
    pixels = np.frombuffer(data, np.uint8)
    return make("sensor_msgs/CompressedImage", header=header(stamp_ns), format="jpeg", data=pixels)


def odometry(x: float) -> Any:
    zero = make("geometry_msgs/Vector3", x=x, y=0.0, z=0.0)
    twist = make("geometry_msgs/Twist", linear=zero, angular=zero)
    return make(
        "nav_msgs/Odometry",
        header=header(frame="odom"),
        child_frame_id="base_link",
        pose=make("geometry_msgs/PoseWithCovariance", pose=pose(x), covariance=np.arange(36.0)),
        twist=make("geometry_msgs/TwistWithCovariance", twist=twist, covariance=np.zeros(36)),
    )


def flag(value: bool = True) -> Any:
    return make("std_msgs/Bool", data=value)


def write_flags(path: Path, log_times_ns: list[int], topic: str = "/flag") -> Path:
    with BagWriter(path) as bag:
        for log_ns in log_times_ns:
            bag.write(topic, "std_msgs/msg/Bool", log_ns, flag())
    return path


@pytest.mark.parametrize("type_name", OURS)
def test_hash_of_our_messages_is_the_one_rosidl_generated(type_name: str) -> None:
    msg_module = pytest.importorskip("alpamayo_ros.msg", reason="alpamayo_ros.msg is not built")
    prefixes = Path(msg_module.__file__).parents
    generated = Path("share/alpamayo_ros/msg") / f"{type_name.rsplit('/', 1)[1]}.json"
    built = next((prefix / generated for prefix in prefixes if (prefix / generated).is_file()), None)
    if built is None:
        pytest.skip(f"no {generated} beside {msg_module.__file__}")
    hashes = {entry["type_name"]: entry["hash_string"] for entry in json.loads(built.read_text())["type_hashes"]}
    assert type_hash(type_name) == hashes[type_name]


def test_every_message_file_is_a_known_type() -> None:
    assert len(OURS) >= 9
    assert all(message(name).__msgtype__ == name for name in OURS)


@pytest.mark.parametrize(
    ("type_name", "msg"),
    [
        ("alpamayo_ros/msg/UnicycleTrajectory", trajectory()),
        ("sensor_msgs/msg/CompressedImage", image(5, bytes(range(256)) * 40)),
        ("nav_msgs/msg/Odometry", odometry(1.5)),
    ],
)
def test_a_message_survives_the_way_into_a_bag_and_back(tmp_path: Path, type_name: str, msg: Any) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write("/topic", type_name, 12345, msg)
        assert bag.messages == 1
    (record,) = read_bag(tmp_path / "bag")
    assert record == Record("/topic", type_name, 12345, serialize(msg, type_name))
    assert serialize(deserialize(record.cdr, type_name), type_name) == record.cdr
    assert deserialize(record.cdr, type_name).header == msg.header


def test_trajectory_keeps_all_64_points() -> None:
    back = deserialize(serialize(trajectory(), "alpamayo_ros/msg/UnicycleTrajectory"), "alpamayo_ros/msg/UnicycleTrajectory")
    assert back == trajectory()
    assert [p.time_from_start_ns for p in back.points] == [100_000_000 * (k + 1) for k in range(64)]


def test_records_come_in_log_time_order_whatever_order_they_were_written_in(tmp_path: Path) -> None:
    times = [50, 10, 40, 40, 20]
    with BagWriter(tmp_path / "bag") as bag:
        for k, log_ns in enumerate(times):
            bag.write(f"/flag{k % 2}", "std_msgs/msg/Bool", log_ns, flag())
    assert [r.log_ns for r in read_bag(tmp_path / "bag")] == sorted(times)


def test_records_of_a_split_bag_are_merged_in_log_time_order(tmp_path: Path) -> None:
    early, late = write_flags(tmp_path / "early", [10, 30, 50]), write_flags(tmp_path / "late", [20, 40, 60])
    split = tmp_path / "split"
    shutil.copytree(early, split)
    shutil.copy(late / "late.mcap", split)
    described = yaml.safe_load((split / "metadata.yaml").read_text())
    info = described["rosbag2_bagfile_information"]
    info["relative_file_paths"] = ["early.mcap", "late.mcap"]
    info["message_count"] = info["topics_with_message_count"][0]["message_count"] = 6
    (split / "metadata.yaml").write_text(yaml.safe_dump(described))
    assert [r.log_ns for r in read_bag(split)] == [10, 20, 30, 40, 50, 60]


def test_start_is_inclusive_and_stop_exclusive(tmp_path: Path) -> None:
    bag = write_flags(tmp_path / "bag", [10, 20, 30, 40])
    assert [r.log_ns for r in read_bag(bag, start_ns=20, stop_ns=40)] == [20, 30]
    assert bag_span(bag) == (10, 40)


def test_topics_select_and_an_absent_topic_is_refused_by_name(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write("/a", "std_msgs/msg/Bool", 1, flag())
        bag.write("/b", "std_msgs/msg/Bool", 2, flag())
    assert [r.topic for r in read_bag(tmp_path / "bag", topics=["/b"])] == ["/b"]
    assert list(read_bag(tmp_path / "bag", topics=[])) == []
    with pytest.raises(InvalidInput, match=r"no topic /c in the bag; it holds /a, /b"):
        next(read_bag(tmp_path / "bag", topics=["/b", "/c"]))


def test_static_transforms_are_offered_to_late_joiners_and_nothing_else_is(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write("/tf_static", "tf2_msgs/msg/TFMessage", 1, make("tf2_msgs/TFMessage", transforms=[]))
        bag.write("/flag", "std_msgs/msg/Bool", 2, flag())
    topics = bag_topics(tmp_path / "bag")
    assert topics["/tf_static"].qos == "reliable transient_local keep_last(1)"
    assert topics["/flag"].qos == "reliable volatile keep_last(10)"
    assert (topics["/flag"].type_name, topics["/flag"].count) == ("std_msgs/msg/Bool", 1)
    assert topics["/flag"].type_hash == type_hash("std_msgs/msg/Bool")


def write_with_rosbags(path: Path, plugin: StoragePlugin, type_name: str, definition: str | None) -> bytes:
    store = get_typestore(Stores.ROS2_KILTED)
    if definition is not None:
        store.register(get_types_from_msg(definition, type_name))
    cdr = b"\x00\x01\x00\x00" + bytes([1, 0, 0, 0])
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        for log_ns in (30, 10, 20):
            writer.write(writer.add_connection(f"/t{log_ns}", type_name, typestore=store), log_ns, cdr)
    return cdr


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_both_storages_are_read_as_folder_and_as_single_file(tmp_path: Path, plugin: StoragePlugin) -> None:
    write_with_rosbags(tmp_path / "bag", plugin, "std_msgs/msg/Bool", None)
    (storage,) = (p for p in (tmp_path / "bag").iterdir() if p.suffix in (".mcap", ".db3"))
    for path in (tmp_path / "bag", storage):
        assert [r.log_ns for r in read_bag(path)] == [10, 20, 30]
        assert list(read_bag(path, topics=[])) == []
        assert sorted(bag_topics(path)) == ["/t10", "/t20", "/t30"]


def test_types_we_do_not_know_are_read_raw(tmp_path: Path) -> None:
    cdr = write_with_rosbags(tmp_path / "bag", StoragePlugin.MCAP, "foreign_msgs/msg/Thing", "int32 a")
    record = next(read_bag(tmp_path / "bag"))
    assert (record.type_name, record.cdr) == ("foreign_msgs/msg/Thing", cdr)
    with pytest.raises(InvalidInput, match="unknown message type 'foreign_msgs/msg/Thing'"):
        deserialize(record.cdr, record.type_name)


def test_a_type_recorded_with_another_definition_is_refused(tmp_path: Path) -> None:
    write_with_rosbags(tmp_path / "bag", StoragePlugin.MCAP, "alpamayo_ros/msg/EgoSignals", "int32 steering")
    with pytest.raises(InvalidInput, match="/t30 was recorded with another definition of alpamayo_ros/msg/EgoSignals"):
        next(read_bag(tmp_path / "bag"))


@pytest.mark.parametrize(
    ("make_it", "expected"),
    [
        (lambda p: None, "no such bag"),
        (lambda p: p.mkdir(), "no metadata.yaml; want a rosbag2 folder"),
        (lambda p: p.write_bytes(b"hello"), "not a bag; want a rosbag2 folder"),
    ],
)
def test_what_is_not_a_bag_is_named_with_what_was_expected(tmp_path: Path, make_it: Any, expected: str) -> None:
    make_it(tmp_path / "thing")
    for use in (bag_topics, bag_span, lambda p: next(read_bag(p))):
        with pytest.raises(InvalidInput, match=f"thing: .*{expected}"):
            use(tmp_path / "thing")


def test_a_bag_without_messages_has_no_span(tmp_path: Path) -> None:
    bag = write_flags(tmp_path / "bag", [])
    assert list(read_bag(bag)) == []
    with pytest.raises(InvalidInput, match="holds no message"):
        bag_span(bag)


def test_a_recording_cut_before_its_index_was_written_is_named(tmp_path: Path) -> None:
    bag = write_flags(tmp_path / "bag", [1, 2, 3])
    storage = bag / "bag.mcap"
    storage.write_bytes(storage.read_bytes()[:-60])
    with pytest.raises(InvalidInput, match=r"bag\.mcap: want a complete rosbag2 recording.*damaged or cut short"):
        next(read_bag(bag))
    (bag / "metadata.yaml").unlink()
    with pytest.raises(InvalidInput, match=r"no metadata\.yaml: the recording was cut short, `alpamayo recover .*bag OUT`"):
        next(read_bag(bag))


def test_messages_missing_from_the_storage_are_noticed(tmp_path: Path) -> None:
    write_with_rosbags(tmp_path / "bag", StoragePlugin.SQLITE3, "std_msgs/msg/Bool", None)
    with sqlite3.connect(tmp_path / "bag" / "bag.db3") as database:
        database.execute("DELETE FROM messages WHERE timestamp = 20")
    database.close()
    with pytest.raises(InvalidInput, match="/t20 0 of 1"):
        list(read_bag(tmp_path / "bag"))


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("intact")
    write_with_rosbags(folder / "sqlite", StoragePlugin.SQLITE3, "std_msgs/msg/Bool", None)
    write_flags(folder / "mcap", [1, 2, 3])
    return {path.suffix: path.read_bytes() for path in (folder / "sqlite/sqlite.db3", folder / "mcap/mcap.mcap")}


def refusal(call: Callable[[], object]) -> str:
    """Why a call refused its input, empty when it did not."""
    try:
        call()
    except InvalidInput as error:
        return str(error)
    return ""


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([".db3", ".mcap"]), st.floats(0, 1, exclude_max=True), st.integers(0, 255), st.booleans())
def test_a_damaged_file_is_read_or_refused_but_never_anything_else(
    intact: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, suffix: str, where: float, byte: int, cut: bool
) -> None:
    damaged = bytearray(intact[suffix])
    at = int(where * len(damaged))
    if cut:
        del damaged[at:]
    else:
        damaged[at] = byte
    path = tmp_path_factory.mktemp("damaged") / f"bag{suffix}"
    path.write_bytes(damaged)
    for use in (bag_topics, lambda p: list(read_bag(p))):
        refused = refusal(lambda use=use: use(path))
        assert str(path) in refused if refused else (not cut or suffix == ".db3")


@given(st.binary(max_size=48))  # shorter than the shortest trace
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    for cdr in (data, b"\x00\x01\x00\x00" + data):
        refused = refusal(lambda cdr=cdr: deserialize(cdr, "alpamayo_ros/msg/ReasoningTrace"))
        assert f"{len(cdr)} bytes are not a alpamayo_ros/msg/ReasoningTrace" in refused


def test_wrong_fields_unknown_types_and_changed_types_are_refused_on_writing(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write("/a", "std_msgs/msg/Bool", 1, flag())
        with pytest.raises(InvalidInput, match="cannot be written as std_msgs/msg/Header"):
            bag.write("/b", "std_msgs/msg/Header", 1, flag())
        with pytest.raises(InvalidInput, match="unknown message type 'x/msg/Y'"):
            bag.write("/c", "x/msg/Y", 1, flag())
        with pytest.raises(InvalidInput, match="std_msgs/msg/Header on a topic of std_msgs/msg/Bool"):
            bag.write("/a", "std_msgs/msg/Header", 1, header())
        with pytest.raises(InvalidInput, match="log time -1 ns"):
            bag.write("/a", "std_msgs/msg/Bool", -1, flag())
    assert [r.topic for r in read_bag(tmp_path / "bag")] == ["/a"]


def test_what_was_written_before_an_error_stays_readable(tmp_path: Path) -> None:
    def interrupted() -> None:
        with BagWriter(tmp_path / "bag") as bag:
            bag.write("/a", "std_msgs/msg/Bool", 1, flag())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(list(read_bag(tmp_path / "bag"))) == 1


def test_what_was_flushed_is_in_the_file_while_the_recording_goes_on(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write("/a", "std_msgs/msg/Bool", 1, flag())
        bag.flush()
        bag.write("/a", "std_msgs/msg/Bool", 2, flag())
        shutil.copytree(tmp_path / "bag", tmp_path / "killed")
        deadline = time.monotonic() + 10
        while recovered_times(tmp_path) == [] and time.monotonic() < deadline:
            shutil.copytree(tmp_path / "bag", tmp_path / "killed", dirs_exist_ok=True)
        assert recovered_times(tmp_path) == [1]
    assert [record.log_ns for record in read_bag(tmp_path / "bag")] == [1, 2]


def test_a_bag_without_its_file_is_not_sent_to_recover_which_would_refuse_it(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write("/flag", "std_msgs/msg/Bool", 1, message("std_msgs/msg/Bool")(data=True))
    (tmp_path / "bag" / "bag.mcap").unlink()
    with pytest.raises(InvalidInput, match=r"it has no \.mcap or \.db3 file$"):
        list(read_bag(tmp_path / "bag"))
    with pytest.raises(InvalidInput, match=r"not a recording, it holds metadata\.yaml; want"):
        recover(tmp_path / "bag", tmp_path / "out")


def recovered_times(folder: Path) -> list[int]:
    shutil.rmtree(folder / "recovered", ignore_errors=True)
    if refusal(lambda: recover(folder / "killed", folder / "recovered")):
        return []
    return [record.log_ns for record in read_bag(folder / "recovered")]


def test_on_a_full_disk_the_newest_messages_make_room_for_the_index(tmp_path: Path) -> None:
    """In a process of its own, whose files cannot grow beyond 5 MB."""
    script = tmp_path / "fill.py"
    script.write_text(
        f"""
from pathlib import Path
from alpamayo_ros.bags import BagWriter
with BagWriter(Path({str(tmp_path / "bag")!r})) as bag:
    for i in range(100):
        bag.write("/a", "std_msgs/msg/Bool", i, bytes(100_000))
"""
    )
    limited = ["prlimit", "--fsize=5000000", sys.executable, str(script)]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "OSError: [Errno 27] File too large" in done.stderr
    times = [record.log_ns for record in read_bag(tmp_path / "bag")]
    assert times == list(range(len(times)))
    assert 5_000_000 - 2 * 2**20 < len(times) * 100_000 < 5_000_000


def test_a_reader_that_does_not_know_our_types_finds_them_in_the_bag(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write("/t", "alpamayo_ros/msg/UnicycleTrajectory", 9, trajectory(3))
    with AnyReader([tmp_path / "bag"]) as reader:
        ((connection, _, cdr),) = reader.messages()
        points = reader.deserialize(cdr, connection.msgtype).points
    assert [point.speed_mps for point in points] == [1.0, 2.0, 3.0]


def test_a_type_of_another_package_is_recorded_with_all_that_it_is_made_of(tmp_path: Path) -> None:
    texts = {
        "foreign_msgs/msg/Outer": "std_msgs/Header header\nInner[2] pair\nInner[] more",
        "foreign_msgs/msg/Inner": "geometry_msgs/Point place\nfloat32 share",
    }
    define("foreign_msgs/msg/Outer", texts.__getitem__)
    with BagWriter(tmp_path / "bag") as bag:
        bag.write("/t", "foreign_msgs/msg/Outer", 1, b"\0\1\0\0")
    with AnyReader([tmp_path / "bag"]) as reader:
        assert {"foreign_msgs/msg/Outer", "foreign_msgs/msg/Inner"} <= reader.typestore.fielddefs.keys()
    assert bag_topics(tmp_path / "bag")["/t"].type_hash == type_hash("foreign_msgs/msg/Outer")
    with pytest.raises(InvalidInput, match="broken_msgs/msg/X: not a message definition"):
        define("broken_msgs/msg/X", lambda name: "int32 1 2 3")


def test_an_existing_folder_is_never_written_into(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist yet"):
        BagWriter(tmp_path)


def test_raw_cdr_is_written_unchanged(tmp_path: Path) -> None:
    cdr = serialize(trajectory(3), "alpamayo_ros/msg/UnicycleTrajectory")
    with BagWriter(tmp_path / "bag") as bag:
        bag.write("/t", "alpamayo_ros/msg/UnicycleTrajectory", 9, memoryview(cdr))
    assert next(read_bag(tmp_path / "bag")).cdr == cdr


def as_ros(msg: Any) -> Any:
    """The same message as rclpy's generated class."""
    package, _, name = msg.__msgtype__.split("/")
    ros = getattr(importlib.import_module(f"{package}.msg"), name)()
    for field in ros.get_fields_and_field_types():
        value = getattr(msg, field)
        setattr(ros, field, as_ros_value(value))
    return ros


def as_ros_value(value: Any) -> Any:
    if isinstance(value, list):
        return [as_ros_value(item) for item in value]
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        return value.tobytes()
    return as_ros(value) if hasattr(value, "__msgtype__") else value


def trace(words: list[str]) -> Any:
    return make(
        "alpamayo_ros/ReasoningTrace",
        header=header(),
        epoch=1,
        plan_id=2,
        text=" ".join(words),
        longitudinal=1,
        lateral=2,
        lateral_direction=0,
        components=[
            make("alpamayo_ros/CriticalComponent", category=k % 7, description=w, attributes=words[:k])
            for k, w in enumerate(words)
        ],
        meta_actions=[
            make("alpamayo_ros/MetaAction", axis=0, action=1, start_ns=k, end_ns=k + 2**50) for k in range(len(words) % 3)
        ],
        stated_meta_actions="stop" * (len(words) % 2),
        complete=True,
        consistent=1,
        why_not="x" * (len(words) % 5),
        tokens=len(words),
        latency_ms=0.5,
    )


@pytest.mark.ros
@pytest.mark.patient
@pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")  # lark, under rosidl_parser
@pytest.mark.parametrize(
    "msg",
    [trajectory(), image(5, b"odd"), odometry(2.5), trace([]), trace(["a"]), trace(["bc", "", "def"]), trace(list("abcd"))],
    ids=lambda msg: msg.__msgtype__,
)
def test_bytes_are_what_rclpy_writes_and_reads(msg: Any) -> None:
    serialization = pytest.importorskip("rclpy.serialization", reason="rclpy is not installed")
    pytest.importorskip("alpamayo_ros.msg", reason="alpamayo_ros.msg is not built")
    ros = as_ros(msg)
    theirs, ours = serialization.serialize_message(ros), serialize(msg, msg.__msgtype__)
    assert len(theirs) == len(ours)
    # rclpy leaves padding bytes undefined: reading and writing its bytes here sets them to zero and changes nothing else.
    assert serialize(deserialize(theirs, msg.__msgtype__), msg.__msgtype__) == ours
    assert serialization.deserialize_message(ours, type(ros)) == ros
