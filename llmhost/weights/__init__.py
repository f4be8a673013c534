"""Model files: where they come from, and how they get here whole. See `catalogue`, `sources`, `download`, `wheel`."""
