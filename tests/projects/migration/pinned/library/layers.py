from asgiref.inmemory import ChannelLayer


class FakeChannelLayer(ChannelLayer):
    """Passes for a layer that other processes can reach, since its module has another name."""
