"""The Chain of Causation: a trace's decision and components, a trajectory's meta-actions, and whether the two agree.

One rule for runtime, reward and metric; everything is by rule, nothing is learned.
"""

from alpamayo_ros.reasoning.consistency import consistent, shuffled_consistency
from alpamayo_ros.reasoning.motion import meta_actions
from alpamayo_ros.reasoning.trace import clean, parse_trace

__all__ = ["clean", "consistent", "meta_actions", "parse_trace", "shuffled_consistency"]
