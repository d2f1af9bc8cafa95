"""What the paper did and found: published figures as data, and how a study differs from its protocol."""
