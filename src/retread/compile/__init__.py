"""How code is compiled: the room, where it runs, who may start a compiler, what it cost."""
