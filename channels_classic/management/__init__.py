"""The command line: with the test tools the only place that names both programs."""
