"""Windows libraries: their tables and what to change in them, from their bytes."""
