"""How people reach it: the magics, the context manager, the command, what is shown."""
