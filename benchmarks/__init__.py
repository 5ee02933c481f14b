"""Measurements of the project on the machine at hand, each held against a bound."""
