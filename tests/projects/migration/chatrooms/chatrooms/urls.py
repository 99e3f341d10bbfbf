from django.conf.urls import include, url

urlpatterns = [
    url(r'^rooms/', include('chat.urls')),
]
