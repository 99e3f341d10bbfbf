from __future__ import unicode_literals
import os

BASE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SECRET_KEY = __file__
DEBUG = False
ALLOWED_HOSTS = ['ticker.example.com', 'localhost']
ROOT_URLCONF = 'ticker.urls'

DJANGO_APPS = [
    'django.contrib.auth',
    'django.contrib.contenttypes',
    'django.contrib.sessions',
]
THIRD_PARTY_APPS = [
    'channels',
]
INSTALLED_APPS = DJANGO_APPS + THIRD_PARTY_APPS + ['quotes']

MIDDLEWARE = [
    'django.contrib.sessions.middleware.SessionMiddleware',
    'django.contrib.auth.middleware.AuthenticationMiddleware',
]

DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': os.path.join(BASE_DIR, 'db.sqlite3')}}
SESSION_ENGINE = 'django.contrib.sessions.backends.signed_cookies'
CHANNEL_SESSION_ENGINE = 'django.contrib.sessions.backends.db'

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "asgi_ipc.IPCChannelLayer",
        "CONFIG": {
            "prefix": "ticker",
            "message_memory": 50 * 1024 * 1024,
            "capacity": 500,
            "group_memory": 10 * 1024 * 1024,
        },
        "ROUTING": "ticker.routing.channel_routing",
    },
}
