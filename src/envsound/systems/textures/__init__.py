"""Sound textures from latent spaces: noise shaped by a small recurrent autoencoder, or EnCodec without codes."""
