"""The other side of a planner node: publish what a vehicle publishes, collect what the planner says, hear what others do.

Benches, the doctor, the fault campaign and the simulator use this and nothing else of `nodes`.
"""

from alpamayo_ros.nodes.client.graph import Listener, Published, published, unheard
from alpamayo_ros.nodes.client.planner import OUTPUTS, PlanCollector, engage
from alpamayo_ros.nodes.client.processes import client_node, executable, node_environment, node_process, spin_until, stop
from alpamayo_ros.nodes.client.relay import Relay
from alpamayo_ros.nodes.client.vehicle import Lockstep, RigPublisher, odometry_message, subscribe_cameras

__all__ = [
    "OUTPUTS",
    "Listener",
    "Lockstep",
    "PlanCollector",
    "Published",
    "Relay",
    "RigPublisher",
    "client_node",
    "engage",
    "executable",
    "node_environment",
    "node_process",
    "odometry_message",
    "published",
    "spin_until",
    "stop",
    "subscribe_cameras",
    "unheard",
]
