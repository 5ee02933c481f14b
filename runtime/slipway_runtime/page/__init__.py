"""The API page: three files that need no other host (docs/decisions/0014)."""
