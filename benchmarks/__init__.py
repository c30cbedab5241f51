"""What a save costs the loop that it interrupts, beside what others take for it: `python -m benchmarks`."""
