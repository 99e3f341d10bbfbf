"""Channel layers: what carries messages between interface servers and workers."""
