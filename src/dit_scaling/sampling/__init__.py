"""Sampling: noise and labels are functions of (seed, index) alone."""
