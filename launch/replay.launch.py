"""A rosbag2 played into the planner; ends with the bag. Takes the arguments of planner.launch.py as well."""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

PLANNER = Path(__file__).with_name("planner.launch.py")


def generate_launch_description() -> LaunchDescription:
    """Arguments: `ros2 launch alpamayo_ros replay.launch.py --show-args`."""
    replay = Node(
        package="alpamayo_ros",
        executable="replay_node",
        name="alpamayo_replay",
        parameters=[
            {
                "bag": ParameterValue(LaunchConfiguration("bag"), value_type=str),
                "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
                "loop": ParameterValue(LaunchConfiguration("loop"), value_type=bool),
                "start_offset_s": ParameterValue(LaunchConfiguration("start_offset_s"), value_type=float),
            }
        ],
        output="screen",
        on_exit=Shutdown(reason="the bag is over"),
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="rosbag2 folder or file"),
            DeclareLaunchArgument("rate", default_value="1.0", description="bag seconds per second"),
            DeclareLaunchArgument(
                "loop", default_value="false", choices=["true", "false"], description="start again at the end"
            ),
            DeclareLaunchArgument("start_offset_s", default_value="0.0", description="skip this much of the bag, s"),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(PLANNER)), launch_arguments={"use_sim_time": "true"}.items()
            ),
            replay,
        ]
    )
