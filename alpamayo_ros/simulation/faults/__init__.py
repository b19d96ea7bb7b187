"""The fault campaign: every fault of the catalogue that a machine without a GPU can produce, through real DDS and processes.

sending        what a vehicle publishes, as bytes, and when
vehicle        a scripted vehicle that publishes it in real or simulated time
disturbances   what may happen to a message on its way out
processes      what may happen to the planner's processes
engine         an engine that misbehaves as it is told
catalogue      the rows: a fault, how hard, when, and what is expected of the planner
station        a planner, a monitor and the vehicle on a DDS domain of their own
running        one run: drive, inject, watch, lift, recover
judging        what was said -> whether it is as expected
campaign       many runs, resumable, in shards
broken         planners that are broken on purpose; saboteurs: what makes one of a good one
sabotage       every broken planner must be caught
soak           an hour without a fault
tables         runs -> figures and a table
"""
