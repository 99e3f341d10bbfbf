from channels.routing import route

inner = [route('websocket.connect', 'library.consumers.inner', path=r'^/(?P<page>\d+)$')]
