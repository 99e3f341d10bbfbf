"""The behaviour that Channels 1.1.8 promises to the tests of a project."""
