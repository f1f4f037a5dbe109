"""What generators of sound textures keep of recordings, what lies between two sounds, and what they make anew."""
