"""The expert: a driver by rules on what is to be seen, who says why."""

from alpamayo_ros.simulation.expert.expert import Expert

__all__ = ["Expert"]
