"""Everything the operator decides. Pure: no I/O, no clock, no randomness, no logging."""
