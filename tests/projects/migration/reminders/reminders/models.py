from django.contrib.auth.models import User
from django.db import models


class Reminder(models.Model):
    user = models.ForeignKey(User, related_name='reminders')
    text = models.CharField(max_length=100)
    sent = models.BooleanField(default=False)
