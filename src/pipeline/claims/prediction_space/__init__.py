"""Measurements of what Mao et al., PNAS 121(12), 2024, state."""
