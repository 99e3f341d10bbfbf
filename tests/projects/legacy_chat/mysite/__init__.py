"""A chat written for Channels 1.1.8. This one line was added; every other import of the project is what it was."""

import channels_classic.compat  # noqa: F401
