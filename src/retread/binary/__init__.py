"""Any file that may hold GPU code, whatever its format: told by its content, read, and written with other code."""
