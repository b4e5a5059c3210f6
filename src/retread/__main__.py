"""``python -m retread`` is the command ``retread``."""

from retread.cli.main import main

main()
