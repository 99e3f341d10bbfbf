from django.conf.urls import url
from django.http import HttpResponse

from people.models import Person


def online(request):
    names = Person.objects.filter(online=True).values_list('name', flat=True)
    return HttpResponse(u', '.join(names))


urlpatterns = [url(r'^online$', online)]
