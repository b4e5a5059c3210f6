"""``python -m retread`` is the command ``retread``."""

from retread.cli import main

main()
