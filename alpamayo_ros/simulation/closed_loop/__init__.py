"""Plans meet consequences: a policy drives a scenario, at 10 Hz of the world and 100 Hz of the vehicle.

`settings.LoopSettings(plan_hz=2.0, latency_s=0.0, warm_up_s=2.0, deadline_s=30.0, silence_s=2.0)`
`settings.start_ns(scenario)`: stamp of t = 0; `settings.tick_of(t_s)`
`settings.timing_of(rig, settings) -> Timing`: what an engine's supervisor goes by; the same supervisor in process and over DDS
`loop.run_episode(scenario: Scenario, policy: Policy, settings: LoopSettings = DEFAULTS) -> Episode`
`policies.Policy`: `name`, `senses`, `begin(scenario)`, `see(snapshot)`, `plan() -> Planned`, `close()`
`policies.ExpertPolicy()`, `policies.AlwaysStop()` need no engine; close `engines.EnginePolicy` and `over_ros.NodePolicy`
`suite.Driver(bundle, rig="seven_camera", profile="seven_camera", over_ros=False, request=Request())`: who drives, by name:
    "expert", "always_stop", or an engine as everywhere (kinematic, a bundle's folder, package.module:callable)
`suite.open_policy(driver, settings) -> Policy`: raises InvalidInput for what cannot drive; close it
`suite.run_suite(scenarios: Sequence[Scenario], driver, settings, workers=1) -> Iterator[Episode]`: in their order
"""
