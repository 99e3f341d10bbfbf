def inner(message, **kwargs):
    return kwargs


def first(message, **kwargs):
    pass


def second(message, **kwargs):
    pass
