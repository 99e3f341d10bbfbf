from django.contrib.auth.decorators import login_required
from django.shortcuts import get_object_or_404, render

from .models import Room


@login_required
def room(request, label):
    return render(request, "room.html", {"room": get_object_or_404(Room, label=label)})
