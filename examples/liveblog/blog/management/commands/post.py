"""Post an update from a shell: a process of its own, which no reader is connected to."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from blog.models import Blog


class Command(BaseCommand):
    help = "Posts an update to a blog; everyone who has it open sees it at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="the last part of the blog's address")
        parser.add_argument("text", help="what to post")

    def handle(self, slug: str, text: str, **options: Any) -> None:
        if not text.strip():
            raise CommandError("There is nothing to post: the text is empty.")
        try:
            blog = Blog.objects.get(slug=slug)
        except Blog.DoesNotExist:
            known = ", ".join(Blog.objects.values_list("slug", flat=True)) or "none yet"
            raise CommandError(f"There is no blog with the slug {slug!r}. There are: {known}.") from None
        blog.updates.create(content=text)
        self.stdout.write(f"Posted to {blog}.")
