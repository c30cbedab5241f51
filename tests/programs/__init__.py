"""Cells that must not notice that their kernel was killed, and what it takes to run them."""
