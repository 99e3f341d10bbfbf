"""Tasks of a project, for Django 6."""
