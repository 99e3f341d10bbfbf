from channels import Group
from django.http import JsonResponse


def push(request, symbol):
    Group('quotes-' + symbol).send({'text': '{"price": 1.5}'})
    return JsonResponse({'pushed': symbol, 'ajax': request.is_ajax()})
