"""A series in the making: as commits in a worktree, changed by actions, written back whole or not at all."""
