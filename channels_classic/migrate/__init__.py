"""Moves a project that was written for Channels 1.x to this package: what `channels-classic migrate` does.

A tool of developers: no program imports it, and it imports nothing of the project that it changes. `plan` reads a
folder and returns a `MigrationReport` of changes and of what is left to people; every other module decides about one
kind of file, without I/O. It needs LibCST: `pip install 'channels-classic[migrate]'`.
"""
