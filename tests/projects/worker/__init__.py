"""A project whose workers tests run as real processes, on Redis, without an interface server."""
