from .base import *  # noqa

DEBUG = False

CHANNEL_LAYERS['default'] = {
    'BACKEND': 'asgi_redis.RedisChannelLayer',
    'CONFIG': {'hosts': [os.environ.get('REDIS_URL', 'redis://redis:6379/0')]},
    'ROUTING': 'config.routing.channel_routing',
}
