"""Scripted faults: what breaks, what says so, and what is lost. `make drills` runs all of them."""
