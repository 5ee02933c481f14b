"""The `slipway` command, which is `kubectl slipway`, too: the operator's planner for people."""
