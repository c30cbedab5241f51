"""Libraries, each killed and resumed: what a lane of its own has installed."""
