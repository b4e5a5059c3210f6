"""A private index: what it lists, what was done to it, and who may do it."""
