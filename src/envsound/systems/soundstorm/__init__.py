"""SoundStorm's masked model: masking, network, training, decoding."""
