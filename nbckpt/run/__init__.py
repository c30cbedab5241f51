"""One resumable computation: rewriting a cell, knowing where it is, saving and restoring it."""

RUN = "__nbckpt__"
"""The name under which the running cell finds its run; it lives in `builtins`, never in the namespace."""
