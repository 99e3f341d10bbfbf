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
    group = blog.readers
    # Who reads is what the browser calls itself: several tabs are one reader. It is only counted.
    who = message["query_string"].decode("ascii", "replace")[:50] or message.reply_channel.name
    group.add(message.reply_channel, who=who, after=message.get("cursors", {}).get(group.name))
    readers = how_many_read(blog)
    blog.tell(readers=readers)
    # Apart from the group: somebody who came back too late is told of a gap, in which that may lie.
    message.reply_channel.send(blog.news(readers=readers))


def ws_disconnect(message: Message, slug: str) -> None:
    blog = Blog.objects.filter(slug=slug).first()
    if blog is not None:
        blog.readers.discard(message.reply_channel)
        blog.tell(readers=how_many_read(blog))


def how_many_read(blog: Blog) -> int:
    # Asked afresh each time: a number kept by adding and subtracting goes wrong for good when a worker dies.
    return len(blog.readers.presence())
