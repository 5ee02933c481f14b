"""The data plane: one model, one queue, one door for every protocol."""
