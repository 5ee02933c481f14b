"""What the runtime tells Prometheus."""
