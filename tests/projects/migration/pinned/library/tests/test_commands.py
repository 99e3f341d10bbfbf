from __future__ import unicode_literals

from io import StringIO

from channels import channel_layers
from channels.handler import ViewConsumer
from channels.management.commands import runserver
from channels.staticfiles import StaticFilesConsumer
from channels.test import ChannelTestCase
from django.core.management import call_command
from django.test import override_settings

try:
    from unittest import mock
except ImportError:
    import mock

RUNWORKER = 'channels.management.commands.runworker'


class RunWorkerTests(ChannelTestCase):

    test_channel_aliases = []

    def setUp(self):
        channel_layers.backends.pop('fake_channel', None)  # that of another test
        self.layer = channel_layers['fake_channel']

    def tearDown(self):
        channel_layers.set('fake_channel', None)
        channel_layers.backends.pop('fake_channel')

    def options(self, *arguments, **kwargs):
        with mock.patch(RUNWORKER + '.Worker') as worker:
            call_command('runworker', '--layer', 'fake_channel', *arguments, **kwargs)
        self.assertTrue(worker.return_value.run.called)
        return worker.call_args[1]

    def test_keywords(self):
        options = self.options()
        self.assertEqual(set(options), {'callback', 'only_channels', 'exclude_channels', 'channel_layer'})
        self.assertIs(options['channel_layer'], self.layer)
        self.assertIsNone(options['callback'])

    def test_callback(self):
        self.assertIsNotNone(self.options('-v', '2')['callback'])

    def test_threads_make_a_group(self):
        with mock.patch(RUNWORKER + '.WorkerGroup') as group:
            call_command('runworker', '--layer', 'fake_channel', '--threads', '2')
        self.assertEqual(group.call_args[1]['n_threads'], 2)

    @override_settings(DEBUG=True, STATIC_URL='/static/')
    def test_debug_with_staticfiles(self):
        with self.modify_settings(INSTALLED_APPS={'append': 'django.contrib.staticfiles'}):
            self.options()
        self.assertIsInstance(self.layer.router.root.routing[0].consumer, StaticFilesConsumer)

    @override_settings(DEBUG=True, STATIC_URL=None)
    def test_debug_without_staticfiles(self):
        self.options()
        consumer = self.layer.router.root.routing[0].consumer
        self.assertIsInstance(consumer, ViewConsumer)
        self.assertNotIsInstance(consumer, StaticFilesConsumer)


class LogActionTests(ChannelTestCase):

    def logged(self, protocol, action, **details):
        with mock.patch('channels.management.commands.runserver.sys.stderr', new_callable=StringIO) as stderr:
            runserver.Command().log_action(protocol, action, details)
        return stderr.getvalue()

    def test_http(self):
        for status in (100, 200, 300, 304, 400, 404, 500):
            line = self.logged('http', 'complete', method='GET', path='/a-path/', status=status, time_taken=42, client='1')
            self.assertIn('HTTP GET /a-path/ %s [42.00, 1]' % status, line)

    def test_websocket(self):
        names = {'connected': 'CONNECT', 'disconnected': 'DISCONNECT', 'connecting': 'HANDSHAKING', 'rejected': 'REJECT'}
        for action, name in names.items():
            line = self.logged('websocket', action, path='/a-path/', client='1')
            self.assertIn('WebSocket %s /a-path/ [1]' % name, line)
        self.logged('websocket', 'unknown', path='/a-path/', client='1')
