"""Model supply: from a URI to verified bytes on disk."""
