"""Who gives notice that the machine will go, and how a run hears of it: one module for each of them.

SIGTERM, which Kubernetes, AWS Batch and a scheduler's preemption send, is not asked for but heard: `interrupts`.
"""
