"""The only door to the API server: plain dicts in, plain dicts out."""
