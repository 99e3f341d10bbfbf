from django.conf.urls import url

from polls import views

urlpatterns = [
    url(r'^wait/$', views.wait),
    url(r'^publish/$', views.publish),
]
