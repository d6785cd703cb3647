"""Benchmarks over the history of the project, for airspeed velocity (asv)."""
