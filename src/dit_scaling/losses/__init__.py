"""The loss of trained networks on held-out images: a measure that needs no samples and has little noise."""
