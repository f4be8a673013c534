"""State on disk: what a person wrote (registry, keys) and what was observed (status)."""
