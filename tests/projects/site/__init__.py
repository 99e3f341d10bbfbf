"""A small site that tests run as real processes: every kind of consumer that the end-to-end tests need, and no more."""
