import os

BASE_DIR = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

SECRET_KEY = __file__
ALLOWED_HOSTS = ['*']
ROOT_URLCONF = 'config.urls'

INSTALLED_APPS = [
    'django.contrib.contenttypes',
    'django.contrib.auth',
    'reminders',
]

INSTALLED_APPS += ['channels', 'channels.delay']

MIDDLEWARE_CLASSES = []

DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': os.path.join(BASE_DIR, 'db.sqlite3')}}

LOGGING = {
    'version': 1,
    'disable_existing_loggers': False,
    'handlers': {'console': {'class': 'logging.StreamHandler'}},
    'loggers': {
        'django.channels': {'handlers': ['console'], 'level': 'WARNING'},
        'daphne.http_protocol': {'handlers': ['console'], 'level': 'WARNING'},
    },
}

CHANNEL_LAYERS = {
    'default': {
        'BACKEND': os.environ.get('CHANNELS_BACKEND', 'asgi_ipc.IPCChannelLayer'),
        'ROUTING': 'config.routing.channel_routing',
    },
}
