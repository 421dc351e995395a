"""The figures of Mao et al., PNAS 121(12), 2024."""
