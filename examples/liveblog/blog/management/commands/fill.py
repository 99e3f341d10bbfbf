"""Fill an empty database with a few blogs and somebody who may post."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from blog.models import Blog, BlogUpdate

NAME, PASSWORD = "editor", "live-blog"  # For the example alone: anyone can read them here.

BLOGS = {
    "Total eclipse": {  # how many minutes ago → what was posted then
        52: "The meadow above the village is filling up. Somebody has brought a brass band; nobody knows why.",
        41: "First contact! A tiny bite at the lower right edge of the sun.\n\nGlasses on, please.",
        23: "More than half is covered. The light has turned to pewter, and the shadows have sharp edges.",
        9: "The swallows have gone to roost. It is eight degrees colder than an hour ago.",
        2: "Totality. The corona is out, Venus is out, and the band has stopped playing.",
    },
    "Bake-off final": {
        74: "Three bakers, two hours, one showstopper. The theme is “bridges”.",
        48: "Agnes is building the Øresund in choux pastry. Bold. Ours is not to ask about the tunnel part.",
        20: "Drama at bench two: the caramel suspension cables are sagging in the heat.",
        6: "Hands off! All three bridges stand. One of them only just.",
    },
    "Night train north": {
        305: "Platform 9, 21:04. Every compartment smells of oranges already.",
        190: "The dining car has run out of soup and into a discussion about whales.",
        35: "Awake at first light: birches, birches, a lake, birches.",
    },
}


class Command(BaseCommand):
    help = "Fills an empty database with a few blogs and a staff user, once; says the login either way."

    @transaction.atomic
    def handle(self, **options: Any) -> None:
        if not Blog.objects.exists():
            for name, posts in BLOGS.items():
                self.add_blog(name, posts)
        if not User.objects.filter(username=NAME).exists():
            User.objects.create_superuser(NAME, password=PASSWORD)
        self.stdout.write(f"{NAME} / {PASSWORD}")

    def add_blog(self, name: str, posts: dict[int, str]) -> None:
        blog = Blog.objects.create(name=name, slug=slugify(name))
        now = timezone.now()
        BlogUpdate.objects.bulk_create(
            BlogUpdate(blog=blog, content=content, created=now - timedelta(minutes=minutes))
            for minutes, content in posts.items()
        )
