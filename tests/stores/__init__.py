"""Real model stores as processes on this machine, with one face for tests.

Lives here: starting them, filling them, and what a user would write to fetch from them.
"""
