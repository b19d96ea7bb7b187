"""The monitor node: sees what goes into a planner and what comes out of it, and records every breach of the invariants."""
