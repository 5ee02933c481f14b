"""Rollouts under load: what clients see while versions come, fail and go."""
