from __future__ import unicode_literals

from channels import Group
from django.core.management.base import BaseCommand

from quotes.consumers import QuoteConsumer


class Command(BaseCommand):
    help = u'Sends a quote to everybody who watches its symbol.'

    def add_arguments(self, parser):
        parser.add_argument('symbol')
        parser.add_argument('price', type=float)

    def handle(self, *args, **options):
        QuoteConsumer.group_send('quotes-%s' % options['symbol'], {'price': options['price']})
        Group('admins').send({'text': '{"sent": "%s"}' % options['symbol']})
        self.stdout.write(u'sent')
