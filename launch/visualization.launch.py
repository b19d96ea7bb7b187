"""The visualizer node and RViz, for a planner that runs already."""

import re
from pathlib import Path

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription

SHARE = Path(__file__).parent.parent
PLANNER, VISUALIZER = "alpamayo_planner", "alpamayo_visualizer"

# Where a planner started with the same `compat` publishes, and where its markers are expected.
REMAPPINGS = {
    "none": [],
    "autoware": [
        (f"{PLANNER}/trajectory", "/alpamayo/predicted_trajectory"),
        (f"{PLANNER}/reasoning", "/alpamayo/reasoning"),
        ("~/markers", "/alpamayo/predicted_trajectory_markers"),
    ],
}


def generate_launch_description() -> LaunchDescription:
    """Arguments: `ros2 launch alpamayo_ros visualization.launch.py --show-args`."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("namespace", default_value="", description="namespace of the planner and of the visualizer"),
            DeclareLaunchArgument(
                "rig", default_value="", description="name from config/rigs or .yaml file; empty: what params_file says"
            ),
            DeclareLaunchArgument(
                "params_file", default_value=str(SHARE / "config" / "planner.yaml"), description="parameters of our nodes"
            ),
            DeclareLaunchArgument(
                "use_sim_time", default_value="false", choices=["true", "false"], description="follow /clock"
            ),
            DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error or fatal"),
            DeclareLaunchArgument("rviz", default_value="true", choices=["true", "false"], description="start RViz as well"),
            DeclareLaunchArgument(
                "compat", default_value="none", choices=list(REMAPPINGS), description="topic names of another stack"
            ),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(SHARE / "launch" / "environment.launch.py"))),
            OpaqueFunction(function=nodes),
        ]
    )


def nodes(context: LaunchContext) -> list[Node]:
    """The visualizer and RViz, which is told where the visualizer's and the planner's topics really are."""
    namespace, rig, params_file, log_level, compat = (
        LaunchConfiguration(name).perform(context) for name in ("namespace", "rig", "params_file", "log_level", "compat")
    )
    sim_time = {"use_sim_time": LaunchConfiguration("use_sim_time").perform(context) == "true"}
    visualizer = Node(
        package="alpamayo_ros",
        executable="visualizer_node",
        name=VISUALIZER,
        namespace=namespace,
        parameters=[params_file, sim_time | ({"rig": rig} if rig else {})],
        remappings=REMAPPINGS[compat],
        ros_arguments=["--log-level", log_level],
        output="screen",
    )
    view = SHARE / "config" / "rviz" / "alpamayo.rviz"
    topics = re.findall(rf"Value: /((?:{PLANNER}|{VISUALIZER})/\S+)", view.read_text())
    moved = {f"/{topic}": f"/{namespace.strip('/')}/{topic}" for topic in topics if namespace.strip("/")}
    if compat == "autoware":
        moved[f"/{VISUALIZER}/markers"] = "/alpamayo/predicted_trajectory_markers"
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(view)],
        parameters=[sim_time],
        remappings=list(moved.items()),
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return [visualizer, rviz]
