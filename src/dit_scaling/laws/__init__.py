"""Scaling laws with intervals: fits of loss and distance, tested forward on published results."""
