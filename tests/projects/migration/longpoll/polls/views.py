from channels import Group
from channels.exceptions import ResponseLater
from channels.handler import AsgiHandler
from django.http import HttpResponse
from django.utils.encoding import force_text


def wait(request):
    """Answers when something is published."""
    Group('waiting').add(request.reply_channel)
    raise ResponseLater()


def publish(request):
    response = HttpResponse(u'news: ' + force_text(request.body), content_type='text/plain')
    for chunk in AsgiHandler.encode_response(response):
        Group('waiting').send(chunk)
    return HttpResponse(status=204)
