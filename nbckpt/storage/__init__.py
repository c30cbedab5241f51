"""Bytes ↔ a store: what makes a snapshot durable, and what finds it again."""
