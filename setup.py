"""Install the pure Python part with pip (training clusters, laptops without ROS). Messages and nodes need colcon."""

from pathlib import Path

from setuptools import find_packages, setup

FILES = [p for folder in ("config", "models", "msg") for p in sorted(Path(folder).rglob("*")) if p.is_file()]
LIBRARIES = ["numpy", "opencv-python-headless", "simplejpeg", "rosbags", "PyYAML", "pydantic", "tyro", "rich"]

setup(
    name="alpamayo_ros",
    version="0.1.0",
    description="Seven cameras and odometry in, reasoned 64-point unicycle trajectories out: Alpamayo-R1 on ROS 2.",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["alpamayo_ros", "alpamayo_ros.*"]),
    package_data={"alpamayo_ros": ["py.typed"]},
    data_files=[("share/alpamayo_ros", ["package.xml"])]
    + [(f"share/alpamayo_ros/{path.parent}", [str(path)]) for path in FILES],
    install_requires=LIBRARIES,
    entry_points={"console_scripts": ["alpamayo = alpamayo_ros.cli:main"]},
)
