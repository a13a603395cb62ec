"""Stage I: a sentence's embedding and noise -> a picture of 64x64."""
