"""The commands of `manage.py`: runinterface, runworker, runserver."""
