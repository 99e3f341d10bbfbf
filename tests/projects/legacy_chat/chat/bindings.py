from channels.binding.websockets import WebsocketBindingWithMembers

from .models import Room


class RoomBinding(WebsocketBindingWithMembers):
    model = Room
    stream = "rooms"
    fields = ["label", "topic"]
    send_members = ["loud"]

    @classmethod
    def group_names(cls, instance):
        return ["rooms"]

    def has_permission(self, user, action, pk):
        return user.is_staff
