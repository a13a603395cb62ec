"""Stage I: a sentence's embedding and noise -> an image of 64x64."""
