import os

BASE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SECRET_KEY = __file__
DEBUG = True
ALLOWED_HOSTS = ['localhost', '127.0.0.1']
ROOT_URLCONF = 'presence.urls'

INSTALLED_APPS = [
    'django.contrib.auth',
    'django.contrib.contenttypes',
    'django.contrib.sessions',
    'django.contrib.staticfiles',

    'people',

    'channels',  # last
]

MIDDLEWARE = ['django.contrib.sessions.middleware.SessionMiddleware']

DATABASES = {
    'default': {
        'ENGINE': 'django.db.backends.sqlite3',
        'NAME': os.path.join(BASE_DIR, 'db.sqlite3'),
        'TEST': {'NAME': os.path.join(BASE_DIR, 'test.sqlite3')},
    }
}
STATIC_URL = '/static/'

CHANNEL_LAYERS = {
    'default': {
        'BACKEND': 'asgi_ipc.IPCChannelLayer',
        'CONFIG': {'prefix': 'presence'},
        'TEST_CONFIG': {'prefix': 'presence-test', 'message_memory': 1024 * 1024, 'capacity': 50},
        'ROUTING': 'presence.routing.channel_routing',
    },
}
