from channels.binding.websockets import WebsocketBindingWithMembers

from .models import Item


class ItemBinding(WebsocketBindingWithMembers):

    model = Item
    stream = 'items'
    fields = ['board', 'name', 'value']
    send_members = ['doubled']

    @classmethod
    def group_names(cls, instance):
        return ['board-%s' % instance.board]

    def has_permission(self, user, action, pk):
        return user.is_authenticated() and action != 'delete'
