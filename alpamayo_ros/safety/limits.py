"""The thresholds of the checks: data with a unit and a source, none of it in code."""
