"""Install the pure Python part with pip (training clusters, laptops without ROS). Messages and nodes need colcon."""

from pathlib import Path

from setuptools import find_packages, setup

FETCHED = {p for p in Path("models").glob("alpamayo_*/*") if p.suffix != ".yaml"}
SHARED = [p for folder in ("config", "models", "msg") for p in sorted(Path(folder).rglob("*")) if p.is_file()]
FILES = [p for p in SHARED if p not in FETCHED]
BAGS = ["rosbags>=0.11.9", "apsw", "lz4", 'backports.zstd; python_version < "3.14"']
LIBRARIES = ["numpy", "opencv-python-headless", "simplejpeg", *BAGS, "PyYAML", "pydantic", "tyro", "rich"]
MODEL_LIBRARIES = ["torch>=2.9", "safetensors", "tokenizers"]

setup(
    name="alpamayo_ros",
    version="0.1.0",
    description="Seven cameras and odometry in, reasoned 64-point unicycle trajectories out: Alpamayo-R1 on ROS 2.",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["alpamayo_ros", "alpamayo_ros.*"]),
    package_data={"alpamayo_ros": ["py.typed", "evaluation/report/*.j2", "simulation/results/*.j2", "training/coc/*.j2"]},
    data_files=[("share/alpamayo_ros", ["package.xml"])]
    + [(f"share/alpamayo_ros/{path.parent}", [str(path)]) for path in FILES],
    install_requires=LIBRARIES + MODEL_LIBRARIES,
    extras_require={
        "fetch": ["huggingface_hub>=2.4"],
        "evaluation": ["matplotlib", "Jinja2", "av", "pillow", "rerun-sdk>=0.36,<0.42"],
        "simulation": ["highway-env>=1.12", "shapely>=2.1"],
        "training": ["highway-env>=1.12", "shapely>=2.1", "Jinja2", "pyarrow", "tensorboard", "matplotlib", "peft"],
        "build": ["onnx>=1.23", "onnxscript", "onnxruntime>=1.24"],
        "alpasim": ["grpcio>=1.80"],
        "ray": ["ray"],
        "physical_ai_av": ["pyarrow", "av"],
    },
    entry_points={"console_scripts": ["alpamayo = alpamayo_ros.cli:main"]},
)
