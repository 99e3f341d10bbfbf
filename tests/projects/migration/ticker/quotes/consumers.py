from channels.exceptions import DenyConnection
from channels.generic.websockets import JsonWebsocketConsumer, WebsocketConsumer
from channels.security.websockets import allowed_hosts_only


class QuoteConsumer(JsonWebsocketConsumer):

    strict_ordering = True
    channel_session = True

    def connection_groups(self, symbol=None, **kwargs):
        return ['quotes-%s' % symbol]

    def connect(self, message, **kwargs):
        super(QuoteConsumer, self).connect(message, **kwargs)
        message.channel_session['asked'] = 0
        self.send({'watching': kwargs['symbol']})

    def receive(self, content, **kwargs):
        self.message.channel_session['asked'] += content.get('count', 1)
        self.send({'asked': self.message.channel_session['asked']})


class AdminConsumer(WebsocketConsumer):

    http_user = True

    def get_handler(self, message, **kwargs):
        handler = super(AdminConsumer, self).get_handler(message, **kwargs)
        return allowed_hosts_only(handler) if message.channel.name == 'websocket.connect' else handler

    def connect(self, message, **kwargs):
        if not message.user.is_authenticated():
            raise DenyConnection()
        message.reply_channel.send({'accept': True})

    def receive(self, text=None, bytes=None, **kwargs):
        self.send(bytes=bytes[::-1]) if bytes else self.close(status=4000)
