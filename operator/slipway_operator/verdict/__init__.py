"""Whether a candidate is worse than the stable revision: statistics on counts. Pure."""
