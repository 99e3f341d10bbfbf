from quotes.consumers import AdminConsumer, QuoteConsumer

channel_routing = [
    QuoteConsumer.as_route(path=r'^/quotes/(?P<symbol>[A-Z]+)$'),
    AdminConsumer.as_route(attrs={'groups': ['admins']}, path=r'^/admin$'),
]
