"""What is done to a request before the model and to its answer after it, as part of the graph."""
