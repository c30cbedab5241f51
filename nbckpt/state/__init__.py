"""Objects to bytes and back: which names, what they share, how they pickle."""
