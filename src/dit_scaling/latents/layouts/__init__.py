"""Layouts in which others publish and extract latents: a module each, and the table of them."""
