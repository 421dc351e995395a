"""Data sets: where images come from, how they are checked, and what networks are given."""
