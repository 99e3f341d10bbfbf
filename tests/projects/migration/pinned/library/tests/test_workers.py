from __future__ import unicode_literals

import json
import threading
from datetime import timedelta

from channels import DEFAULT_CHANNEL_LAYER, Channel, channel_layers, route
from channels.delay.models import DelayedMessage
from channels.delay.worker import Worker as DelayWorker
from channels.exceptions import ConsumeLater
from channels.signals import worker_ready
from channels.test import ChannelTestCase
from channels.worker import Worker, WorkerGroup
from django.core.management import CommandError, call_command
from django.utils import timezone

try:
    from unittest import mock
except ImportError:
    import mock


def limited(cls, count):
    """Returns a worker class that ends after this many turns."""
    class Limited(cls):
        turns = 0

        @property
        def termed(self):
            self.turns += 1
            return self.turns > count

        @termed.setter
        def termed(self, value):
            pass

    return Limited


class WorkerTests(ChannelTestCase):

    def test_filters(self):
        worker = Worker(None, only_channels=['yes.*', 'maybe.*'])
        channels = ['yes.1', 'no.1', 'maybe.2', 'yes']
        self.assertEqual(worker.apply_channel_filters(channels), ['yes.1', 'maybe.2'])
        worker = Worker(None, exclude_channels=['no.*', 'maybe.*'])
        self.assertEqual(worker.apply_channel_filters(channels), ['yes.1', 'yes'])
        worker = Worker(None, only_channels=['yes.*'], exclude_channels=['*.1'])
        self.assertEqual(worker.apply_channel_filters(['yes.1', 'yes.2']), ['yes.2'])

    def run_with(self, consumer, turns=1):
        Channel('test').send({'test': 'test'}, immediately=True)
        layer = channel_layers[DEFAULT_CHANNEL_LAYER]
        layer.router.add_route(route('test', consumer))
        worker = limited(Worker, turns)(layer, signal_handlers=False)
        worker.run()
        return worker

    def test_a_consumer_runs_once(self):
        consumer = mock.Mock()
        self.run_with(consumer)
        self.assertEqual(consumer.call_count, 1)

    def test_a_consumer_may_put_its_message_back(self):
        consumer = mock.Mock(side_effect=[ConsumeLater(), None])
        self.run_with(consumer, turns=2)
        self.assertEqual(consumer.call_count, 2)

    def test_an_error_does_not_end_the_worker(self):
        consumer = mock.Mock(side_effect=ZeroDivisionError)
        self.run_with(consumer)
        self.assertEqual(consumer.call_count, 1)

    def test_every_worker_of_a_group_is_ready(self):
        ready = []

        def receiver(sender, **kwargs):
            ready.append(sender)

        worker_ready.connect(receiver)
        try:
            group = WorkerGroup(channel_layers[DEFAULT_CHANNEL_LAYER], n_threads=3, signal_handlers=False)
            group.ready()
        finally:
            worker_ready.disconnect(receiver)
        self.assertEqual(len(ready), 3)
        self.assertEqual(len(group.workers), 2)
        self.assertGreaterEqual(threading.active_count(), 1)


class DelayTests(ChannelTestCase):

    def run_worker(self, turns=1):
        limited(DelayWorker, turns)(channel_layers[DEFAULT_CHANNEL_LAYER], signal_handlers=False).run()

    def test_invalid_message_is_not_stored(self):
        Channel('asgi.delay').send({'test': 'value'}, immediately=True)
        self.run_worker()
        self.assertFalse(DelayedMessage.objects.exists())

    def test_message_is_sent_when_it_is_due(self):
        content = {'test': 'value'}
        Channel('asgi.delay').send({'channel': 'test', 'delay': 1000, 'content': content}, immediately=True)
        self.run_worker()
        self.assertEqual(DelayedMessage.objects.count(), 1)
        later = timezone.now() + timedelta(milliseconds=1001)
        with mock.patch('django.utils.timezone.now', return_value=later):
            self.run_worker()
        self.assertEqual(self.get_next_message('test', require=True).content, content)
        self.assertFalse(DelayedMessage.objects.exists())

    def test_full_channel_keeps_what_does_not_fit(self):
        for _ in range(11):
            DelayedMessage(content=json.dumps({}), channel_name='test', delay=0).save()
        self.run_worker()
        self.assertEqual(DelayedMessage.objects.count(), 1)


class CommandTests(ChannelTestCase):

    test_channel_aliases = []

    def test_memory_layer_is_refused(self):
        for command in ('runworker', 'rundelay'):
            with self.assertRaises(CommandError):
                call_command(command)

    def test_worker_gets_its_options(self):
        with mock.patch('channels.management.commands.runworker.Worker') as worker:
            call_command('runworker', '--layer', 'fake_channel')
        _, options = worker.call_args
        self.assertIsNone(options['only_channels'] or None)
        self.assertEqual(str(options['channel_layer']), str(channel_layers['fake_channel']))
        self.assertTrue(worker.return_value.run.called)
