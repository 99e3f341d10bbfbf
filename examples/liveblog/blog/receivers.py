"""Whoever changes an update, in whichever process: its readers see it once the change is committed."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.template.loader import render_to_string

from blog.models import BlogUpdate


@receiver(post_save, sender=BlogUpdate)
def show_update(instance: BlogUpdate, **kwargs: Any) -> None:
    html = render_to_string("blog/update.html", {"update": instance})
    # Robust: the update is saved by then, so a channel layer that is away is logged and the author gets no error.
    transaction.on_commit(lambda: instance.blog.tell(update=html), robust=True)


@receiver(post_delete, sender=BlogUpdate)
def remove_update(instance: BlogUpdate, **kwargs: Any) -> None:
    pk = instance.pk  # Django forgets it after the deletion.
    transaction.on_commit(lambda: instance.blog.tell(removed=pk), robust=True)
