"""Cells that nobody thought of, killed wherever they can be."""
