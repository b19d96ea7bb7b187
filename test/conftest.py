"""How many examples Hypothesis tries: 200 a test, 10,000 with `pytest --hypothesis-profile=thorough`.

No deadline: how long an example takes says how loaded the machine is. A profile given on the command line wins.
"""

from hypothesis import HealthCheck, settings

settings.register_profile("ci", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("ci"), max_examples=10_000)
settings.load_profile("ci")
