"""Zarr stores of registered variables, each beside a manifest that the one reader checks.

Nothing is imported here on purpose: a rule that only reads must not depend on the writer's code.
"""
