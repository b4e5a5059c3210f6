"""Trying a finished wheel: the kit, its run, and what is made of the reports."""
