from django.conf.urls import url

from quotes.views import push

urlpatterns = [url(r'^push/(?P<symbol>[A-Z]+)/$', push)]
