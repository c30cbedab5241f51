"""One resumable computation: rewriting a cell, knowing where it is, saving and restoring it."""
