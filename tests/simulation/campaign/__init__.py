"""Runs the production code over the simulator with every fault at every command, and judges how it ends.

A case is named `scenario:number:fault`, with further `+number:fault` for a second and third one; the
number counts commands from the start of the run. `python -m tests.simulation.campaign replay CASE`
runs it again, command by command the same.
"""
