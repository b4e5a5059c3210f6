"""The pinned source: fetched, proven, patched."""
