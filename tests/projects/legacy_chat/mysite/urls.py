from chat.views import room
from django.contrib.auth.views import LoginView
from django.urls import path

urlpatterns = [
    path("login/", LoginView.as_view()),
    path("rooms/<slug:label>/", room),
]
