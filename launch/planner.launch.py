"""The planner node; with `monitor:=true`, `rviz:=true` and `record:=FOLDER` also what watches, shows and records it."""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription

HERE = Path(__file__).parent
FROM_FILE = "; empty: what params_file says"

PLANNER = "alpamayo_planner"
GENERATOR = "/planning/generator/alpamayo"

# The Autoware Foundation's package of the same name publishes the first two here (message types stay ours); where Autoware's
# generators publish is the place of the last two (types: Autoware's, see `autoware`).
REMAPPINGS = {
    "none": [],
    "autoware": [
        ("~/trajectory", "/alpamayo/predicted_trajectory"),
        ("~/reasoning", "/alpamayo/reasoning"),
        ("~/output/trajectories", f"{GENERATOR}/candidate_trajectories"),
        ("~/output/scored_trajectories", f"{GENERATOR}/scored_candidate_trajectories"),
    ],
}


def generate_launch_description() -> LaunchDescription:
    """Arguments: `ros2 launch alpamayo_ros planner.launch.py --show-args`."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("namespace", default_value="", description="namespace of our nodes"),
            DeclareLaunchArgument("rig", default_value="", description="name from config/rigs or .yaml file" + FROM_FILE),
            DeclareLaunchArgument("bundle", default_value="", description="built-in engine or bundle folder" + FROM_FILE),
            DeclareLaunchArgument("profile", default_value="", description="input profile of a built-in engine" + FROM_FILE),
            DeclareLaunchArgument(
                "mode",
                default_value="",
                choices=["", "shadow", "active"],
                description="a human drives, or the vehicle may be engaged" + FROM_FILE,
            ),
            DeclareLaunchArgument("engine_python", default_value="", description="interpreter of the engine" + FROM_FILE),
            DeclareLaunchArgument(
                "params_file", default_value=str(HERE.parent / "config" / "planner.yaml"), description="parameters of our nodes"
            ),
            DeclareLaunchArgument(
                "use_sim_time", default_value="false", choices=["true", "false"], description="follow /clock"
            ),
            DeclareLaunchArgument(
                "autostart", default_value="", choices=["", "true", "false"], description="activate at start" + FROM_FILE
            ),
            DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error or fatal"),
            DeclareLaunchArgument(
                "monitor",
                default_value="false",
                choices=["true", "false"],
                description="a process that judges the planner",
            ),
            DeclareLaunchArgument("rviz", default_value="false", choices=["true", "false"], description="visualizer and RViz"),
            DeclareLaunchArgument(
                "compat", default_value="none", choices=list(REMAPPINGS), description="topic names of another stack"
            ),
            DeclareLaunchArgument(
                "autoware",
                default_value="",
                choices=["", "none", "auto", "required"],
                description="publish Autoware's messages too: never, where they are installed, or refuse" + FROM_FILE,
            ),
            DeclareLaunchArgument(
                "wheelbase_m", default_value="", description="between the axles, m, for `autoware`" + FROM_FILE
            ),
            DeclareLaunchArgument("record", default_value="", description="folder to record every topic in; empty: do not"),
            include("environment"),
            OpaqueFunction(function=nodes),
            include("visualization", condition=IfCondition(LaunchConfiguration("rviz"))),
        ]
    )


def include(name: str, condition: IfCondition | None = None) -> IncludeLaunchDescription:
    """Another launch file of this folder; it sees the same arguments."""
    return IncludeLaunchDescription(PythonLaunchDescriptionSource(str(HERE / f"{name}.launch.py")), condition=condition)


def nodes(context: LaunchContext) -> list[Node]:
    """The planner, the monitor where it is wanted, and the recorder where a folder is named."""
    settable = ("rig", "bundle", "profile", "engine_python", "autoware", "mode")
    names = ("namespace", *settable, "wheelbase_m", "params_file", "log_level")
    given = {name: LaunchConfiguration(name).perform(context) for name in names}
    flags = {name: LaunchConfiguration(name).perform(context) for name in ("use_sim_time", "autostart")}
    record = LaunchConfiguration("record").perform(context)
    settings = {name: given[name] for name in settable if given[name]}
    settings |= {"wheelbase_m": float(given["wheelbase_m"])} if given["wheelbase_m"] else {}
    settings |= {name: flag == "true" for name, flag in flags.items() if flag}
    compat = LaunchConfiguration("compat").perform(context)
    planner = Node(
        package="alpamayo_ros",
        executable="planner_node",
        name=PLANNER,
        namespace=given["namespace"],
        parameters=[given["params_file"], settings],
        remappings=REMAPPINGS[compat],
        ros_arguments=["--log-level", given["log_level"]],
        output="screen",
    )
    seen = {name: settings[name] for name in ("rig", "use_sim_time") if name in settings}
    monitor = Node(
        package="alpamayo_ros",
        executable="monitor_node",
        name="alpamayo_monitor",
        namespace=given["namespace"],
        parameters=[given["params_file"], seen],
        remappings=[(name.replace("~", PLANNER), there) for name, there in REMAPPINGS[compat] if "/output/" not in name],
        ros_arguments=["--log-level", given["log_level"]],
        output="screen",
    )
    recorder = Node(
        package="alpamayo_ros",
        executable="recorder_node",
        name="alpamayo_recorder",
        namespace=given["namespace"],
        parameters=[{"out": record, "use_sim_time": flags["use_sim_time"] == "true"}],
        output="screen",
    )
    monitors = [monitor] if LaunchConfiguration("monitor").perform(context) == "true" else []
    return [planner, *monitors, *([recorder] if record else [])]
