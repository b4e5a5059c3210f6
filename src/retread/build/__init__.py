"""From a proven base to a finished wheel: graft, statement, bill of materials, seal, and the order of it all."""
