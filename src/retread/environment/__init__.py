"""The Pythons and compilers of this machine, and environments made of locks."""
