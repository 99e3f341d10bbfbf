from .base import *  # noqa

DEBUG = True

CHANNEL_LAYERS['default']['BACKEND'] = 'asgiref.inmemory.ChannelLayer'
