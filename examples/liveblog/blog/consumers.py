"""The consumers for a reader's socket: it opens, it is gone."""

from __future__ import annotations

import logging

from blog.models import Blog
from channels_classic.message import Message

logger = logging.getLogger(__name__)


def ws_connect(message: Message, slug: str) -> None:
    blog = Blog.objects.filter(slug=slug).first()
    if blog is None:
        logger.warning("Refused a reader of %s: there is no blog with the slug %r.", message["path"], slug)
        message.reply_channel.send({"close": True})
        return
    message.reply_channel.send({"accept": True})
    blog.readers.add(message.reply_channel)
    tell_how_many_read(blog)


def ws_disconnect(message: Message, slug: str) -> None:
    blog = Blog.objects.filter(slug=slug).first()
    if blog is not None:
        blog.readers.discard(message.reply_channel)
        tell_how_many_read(blog)


def tell_how_many_read(blog: Blog) -> None:
    # Counted afresh each time: a number kept by adding and subtracting goes wrong for good when a worker dies.
    group = blog.readers
    blog.tell(readers=len(group.channel_layer.group_channels(group.name)))
