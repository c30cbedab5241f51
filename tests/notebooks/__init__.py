"""Notebooks as people write them, each killed and resumed."""
