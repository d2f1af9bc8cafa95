"""Where images come from: sources, the crop, the held-out split, and fingerprints that tell new inputs from old."""
