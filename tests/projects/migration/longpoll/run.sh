#!/bin/sh
# Both in one container
python manage.py runworker --threads=2 &
exec daphne --bind=0.0.0.0 --port=8000 --http-timeout 300 asgi:channel_layer >> /var/log/daphne.log 2>&1
