"""What the paper did and found: published figures as data, for comparison and as the scale of noise."""
