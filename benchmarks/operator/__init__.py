"""Measure the operator with a thousand ModelDeployments on a real API server.

KWOK plays the nodes and the pods; API server, scheduler and controllers are real, and share the
machine with the operator, so that times include their work.
"""
