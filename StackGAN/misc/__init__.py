"""What stands around the networks: the settings' files, the pickles and what makes them."""
