"""Who may ask: keys and tokens, where they come from, and the guard at the clients' ports.

Lives here: reading credentials from mounted files, following their changes, and judging what a
request shows. Nothing here knows a model, or which status an answer has.
Stays out: where the guard stands on each wire (`protocols/`).
"""
