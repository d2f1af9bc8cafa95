"""Training: global draws, the loop, EMA, and a state that survives a kill."""
