"""A site with users and the dashboard of `channels_classic`."""
