"""What stands around the networks: the settings' files, and what converts the originals' archives."""
