"""Whoever changes an update, in whichever process: its readers see it."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.template.loader import render_to_string

from blog.models import BlogUpdate


@receiver(post_save, sender=BlogUpdate)
def show_update(instance: BlogUpdate, **kwargs: Any) -> None:
    instance.blog.tell(update=render_to_string("blog/update.html", {"update": instance}))


@receiver(post_delete, sender=BlogUpdate)
def remove_update(instance: BlogUpdate, **kwargs: Any) -> None:
    instance.blog.tell(removed=instance.pk)
