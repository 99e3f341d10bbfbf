"""What is typed on a command line: the only place, with the test tools, that names both programs."""
