"""What a trained network does, measured on its own latents: shared by the gates of training and by diagnose."""
