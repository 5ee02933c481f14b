"""A long run under mixed load: does a server process keep what it should give back?

`make bench-soak` serves a real process, asks it everything for minutes, and judges its memory,
files, threads and tasks by rule.
"""
