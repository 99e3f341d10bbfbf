from __future__ import unicode_literals

from channels import DEFAULT_CHANNEL_LAYER
from channels.asgi import InvalidChannelLayerError, channel_layers
from channels.test import ChannelTestCase
from django.test import override_settings

LAYER = {'BACKEND': 'asgiref.inmemory.ChannelLayer', 'ROUTING': []}


class ManagerTests(ChannelTestCase):

    def test_layer_without_test_config_makes_no_test_layer(self):
        with self.assertRaises(InvalidChannelLayerError):
            channel_layers.make_test_backend(DEFAULT_CHANNEL_LAYER)

    def test_test_config_is_what_the_test_layer_gets(self):
        with override_settings(CHANNEL_LAYERS={'default': dict(LAYER, TEST_CONFIG={'expiry': 100500})}):
            layer = channel_layers.make_test_backend(DEFAULT_CHANNEL_LAYER)
        self.assertEqual(layer.channel_layer.expiry, 100500)

    def test_layers_are_made_once(self):
        self.assertIs(channel_layers['fake_channel'], channel_layers['fake_channel'])
        self.assertFalse(channel_layers['fake_channel'].local_only())
        self.assertTrue(channel_layers['default'].local_only())

    def test_unknown_alias_is_a_key_error(self):
        with self.assertRaises(KeyError):
            channel_layers['nowhere']
        self.assertNotIn('nowhere', channel_layers)
