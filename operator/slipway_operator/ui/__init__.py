"""The read-only page: ModelDeployments and their rollouts in a browser."""
