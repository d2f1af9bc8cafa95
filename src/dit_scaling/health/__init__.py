"""Is a run sound? Checks before training (preflight), while it goes on (gates), and of any checkpoint (diagnose).

All rest on the same looks at a network: its weights, its predictions, its samples, each a ``Check`` with its meaning.
"""
