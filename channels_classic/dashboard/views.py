"""The page and its data over HTTP, for staff. They need no worker of their own: any server of the project will do."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.shortcuts import render
from django.utils.decorators import decorator_from_middleware
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from channels_classic.dashboard.status import current
from channels_classic.layers.diagnosis import NORMAL
from channels_classic.layers.limits import LIMITS, WORRYING
from channels_classic.layers.losses import KINDS

View = Callable[[HttpRequest], HttpResponseBase]

as_framing_allows = decorator_from_middleware(XFrameOptionsMiddleware)
"""Sets the header that the setting `X_FRAME_OPTIONS` asks for, also in a project without that middleware."""


def is_staff(user: object) -> bool:
    """Return True for a user who may see the page."""
    return bool(getattr(user, "is_active", False) and getattr(user, "is_staff", False))


def staff_only(view: View) -> View:
    """Send visitors to the log-in page, and refuse users who are not staff."""

    @wraps(view)
    def inner(request: HttpRequest) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        if not is_staff(request.user):
            raise PermissionDenied
        return view(request)

    return inner


@require_safe
@never_cache
@as_framing_allows
@staff_only
def page(request: HttpRequest) -> HttpResponse:
    """Return the page with the current status."""
    texts = {"meanings": {**KINDS, **LIMITS}, "worrying": [*sorted(set(KINDS) - NORMAL), *sorted(WORRYING)]}
    return render(request, "channels_classic/dashboard.html", {"status": current(), "texts": texts})


@require_safe
@never_cache
@staff_only
def status(request: HttpRequest) -> HttpResponse:
    """The status as JSON, for a page whose socket is not answered."""
    return JsonResponse(current())
