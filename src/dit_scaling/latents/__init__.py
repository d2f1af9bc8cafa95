"""Images to latents: the autoencoder, shards of posterior moments, their manifest, and the reader for training."""
