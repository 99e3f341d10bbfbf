import os

BASE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SECRET_KEY = 'longpoll'
DEBUG = True
ALLOWED_HOSTS = ['polls.example.com', 'testserver']
ROOT_URLCONF = 'site_config.urls'

INSTALLED_APPS = (
    'django.contrib.contenttypes',
    'django.contrib.auth',
    'django.contrib.sessions',
    'channels',
    'polls',
)

MIDDLEWARE_CLASSES = (
    'polls.middleware.CountingMiddleware',
    'django.contrib.sessions.middleware.SessionMiddleware',
)

DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': os.path.join(BASE_DIR, 'db.sqlite3')}}

CHANNEL_LAYERS = {
    'default': {
        'BACKEND': 'asgi_redis.core.RedisChannelLayer',
        'CONFIG': {'hosts': [('localhost', 6379)], 'prefix': 'longpoll:', 'expiry': 30},
        'ROUTING': 'site_config.routing.channel_routing',
    },
    'mirror': {
        'BACKEND': 'asgiref.inmemory.ChannelLayer',
        'ROUTING': [],
    },
}
