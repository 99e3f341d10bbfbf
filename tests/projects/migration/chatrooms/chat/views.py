from django.shortcuts import get_object_or_404, render

from .models import Room


def room(request, pk):
    return render(request, 'chat/room.html', {'room': get_object_or_404(Room, pk=pk)})
