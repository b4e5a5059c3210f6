"""The stages, one file each: a record of inputs and a function that returns another. None imports another."""
