from __future__ import unicode_literals

import uuid

from django.db import models


class Item(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    board = models.CharField(max_length=20)
    name = models.CharField(max_length=50)
    value = models.IntegerField(default=0)
    secret = models.CharField(max_length=50, blank=True)

    @property
    def doubled(self):
        return self.value * 2
