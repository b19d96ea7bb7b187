"""What cameras over DDS need from a process's environment; included by the other launch files. A value already set is kept."""

from pathlib import Path

from launch.actions import SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable

from launch import LaunchDescription

VARIABLES = {
    # A segment that holds a burst of seven cameras: without it messages are lost at the publisher (docs/performance.md).
    "FASTDDS_DEFAULT_PROFILES_FILE": str(Path(__file__).parent.parent / "config" / "fastdds_shm.xml"),
    # Keep large blocks instead of giving them back to the kernel after every image.
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967295",
}


def generate_launch_description() -> LaunchDescription:
    """Set the variables for everything that is started from here on."""
    return LaunchDescription(
        [SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=value)) for name, value in VARIABLES.items()]
    )
