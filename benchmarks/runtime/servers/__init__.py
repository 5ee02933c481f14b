"""What the rivals run: each at its best honest setting, each in an environment of its own."""
