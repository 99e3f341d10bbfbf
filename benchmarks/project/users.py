"""Makes the database that `DATABASE` names, with ten users of which one is logged in, and prints her cookie."""

from __future__ import annotations

from importlib import import_module

import django
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.core.management import call_command


def main() -> None:
    django.setup()
    from django.contrib.auth.models import User

    call_command("migrate", verbosity=0)
    anna, *_ = [User.objects.create_user(name) for name in ("anna", *(f"user{number}" for number in range(9)))]
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(anna.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = anna.get_session_auth_hash()
    session.save()
    print(f"{settings.SESSION_COOKIE_NAME}={session.session_key}")


if __name__ == "__main__":
    main()
