"""The wires: what a request and an answer look like, and nothing about models."""
