"""CUDA toolkits and assemblers of exactly one release."""
