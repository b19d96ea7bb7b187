"""Pictures of the driving world: a small software renderer of convex faces, painted from far to near."""

from alpamayo_ros.simulation.rendering.stage import Stage

__all__ = ["Stage"]
