"""The worker model of Django Channels 1.x on today's Django."""
