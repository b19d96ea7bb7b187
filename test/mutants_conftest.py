"""Of `make mutants` alone: the same few examples for every mutant, and no search for the smallest one that fails."""

from hypothesis import Phase, settings

PHASES = (Phase.explicit, Phase.generate)
settings.register_profile("mutants", derandomize=True, max_examples=50, database=None, deadline=None, phases=PHASES)
settings.load_profile("mutants")
