from channels.generic.websockets import JsonWebsocketConsumer, WebsocketDemultiplexer, WebsocketMultiplexer

from .bindings import ItemBinding


class EchoConsumer(JsonWebsocketConsumer):

    def connect(self, message, multiplexer, **kwargs):
        multiplexer.send({'hello': kwargs['board']})

    def receive(self, content, multiplexer, **kwargs):
        multiplexer.send({'echo': content['text']})
        WebsocketMultiplexer.group_send('board-%s' % kwargs['board'], 'chatter', {'said': content['text']})


class Demultiplexer(WebsocketDemultiplexer):

    http_user = True

    consumers = {
        'echo': EchoConsumer,
        'items': ItemBinding.consumer,
    }

    def connection_groups(self, board, **kwargs):
        return ['board-%s' % board]
