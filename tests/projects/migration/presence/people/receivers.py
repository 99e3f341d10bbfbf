from channels.signals import consumer_finished, consumer_started, worker_ready
from django.dispatch import receiver

calls = []


@receiver(consumer_started)
def started(sender, **kwargs):
    calls.append('started')


@receiver(consumer_finished)
def finished(sender, **kwargs):
    calls.append('finished')


@receiver(worker_ready)
def ready(sender, **kwargs):
    calls.append('ready')
