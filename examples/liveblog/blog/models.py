"""A blog, and the updates that its readers see arrive."""

from __future__ import annotations

import json

from django.db import models
from django.urls import reverse
from django.utils import timezone

from channels_classic import Group


class Blog(models.Model):
    name = models.CharField(max_length=80)
    slug = models.SlugField(unique=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("blog", args=[self.slug])

    @property
    def readers(self) -> Group:
        """The sockets of everyone who has this blog open. One that drops gets what it missed when it is back."""
        return Group(f"blog-{self.pk}", keep=100, seconds=3600)

    def tell(self, **news: object) -> None:
        """Send news to all readers, once the change is committed."""
        self.readers.send(self.news(**news), on_commit=True)

    @staticmethod
    def news(**news: object) -> dict[str, str]:
        """Return news as a message. `blog.js` says what it does with each name."""
        return {"text": json.dumps(news)}


class BlogUpdate(models.Model):
    blog = models.ForeignKey(Blog, on_delete=models.CASCADE, related_name="updates")
    content = models.TextField()
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-created", "-pk")
        indexes = (models.Index(fields=("blog", "-created"), name="blog_newest_first"),)

    def __str__(self) -> str:
        return self.content[:60]
