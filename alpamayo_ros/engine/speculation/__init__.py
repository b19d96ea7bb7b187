"""What a trace is likely to say, and how a network that was not asked yet is held to its own words."""
