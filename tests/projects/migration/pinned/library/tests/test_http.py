# coding: utf-8
from __future__ import unicode_literals

import os
import tempfile
from datetime import datetime
from io import BytesIO

from channels import Channel
from channels.exceptions import RequestAborted, RequestTimeout
from channels.handler import AsgiHandler, AsgiRequest
from channels.test import ChannelTestCase
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse


class FakeHandler(AsgiHandler):
    chunk_size = 30

    def __init__(self, response):
        self.response = response
        super(FakeHandler, self).__init__()

    def get_response(self, request):
        return self.response


class HandlerTests(ChannelTestCase):

    def replies(self, response):
        Channel('test').send({'reply_channel': 'test', 'http_version': '1.1', 'method': 'GET', 'path': b'/test/'})
        message = self.get_next_message('test', require=True)
        return list(FakeHandler(response)(message))

    def test_simple_response(self):
        response = HttpResponse(b'Hi there!', content_type='text/plain')
        reply, = self.replies(response)
        self.assertEqual((reply['content'], reply['status']), (b'Hi there!', 200))
        self.assertFalse(reply['more_content'])
        headers = [(name, value) for name, value in reply['headers'] if name.lower() != b'content-length']
        self.assertEqual(headers, [(b'Content-Type', b'text/plain')])

    def test_cookies_and_headers(self):
        response = HttpResponse(b'x', content_type='text/plain')
        response.set_signed_cookie('foo', '1', expires=datetime(2030, 1, 1))
        response['Number'] = 1
        response['Gone'] = 'x'
        del response['Gone']
        del response['Never']
        headers = dict(self.replies(response)[0]['headers'])
        self.assertIn(b'foo=', headers[b'Set-Cookie'])
        self.assertEqual(headers[b'Number'], b'1')
        self.assertNotIn(b'Gone', headers)

    def test_large_response_is_cut(self):
        first, second = self.replies(HttpResponse(b'a' * 46))
        self.assertEqual((len(first['content']), first['status'], first['more_content']), (30, 200, True))
        self.assertEqual((len(second['content']), second['more_content']), (16, False))
        self.assertNotIn('status', second)

    def test_empty_responses_are_one_message(self):
        reply, = self.replies(HttpResponse(status=304))
        self.assertEqual((reply['status'], reply['more_content']), (304, False))
        reply, = self.replies(StreamingHttpResponse([], status=304))
        self.assertEqual((reply['status'], reply['more_content']), (304, False))

    def test_chunks(self):
        chunks = [list(FakeHandler.chunk_bytes(b'a' * n)) for n in (0, 29, 30, 31)]
        self.assertEqual(chunks[0], [(b'', True)])
        self.assertEqual([len(each) for each in chunks], [1, 1, 1, 2])
        self.assertEqual([last for _, last in chunks[3]], [False, True])

    def test_iterators(self):
        reply, = self.replies(HttpResponse(range(10)))
        self.assertEqual(reply['content'], b'0123456789')
        replies = self.replies(StreamingHttpResponse('Line: %s' % n for n in range(10)))
        self.assertEqual(len(replies), 11)
        self.assertEqual(replies[9]['content'], b'Line: 9')
        self.assertFalse(replies[10]['more_content'])

    def test_files(self):
        path = os.path.join(tempfile.mkdtemp(), 'file.txt')
        with open(path, 'wb') as stream:
            stream.write(b'Hi')
        with open(path, 'rb') as stream:
            replies = self.replies(FileResponse(stream))
        self.assertEqual([len(replies), replies[0]['content']], [2, b'Hi'])
        self.assertEqual(len(self.replies(FileResponse(BytesIO(b'hi')))), 2)

    def test_json_and_redirects(self):
        self.assertEqual(self.replies(JsonResponse({'foo': (1, 2)}))[0]['content'], b'{"foo": [1, 2]}')
        for target in ('/', '..', 'https://example.com'):
            reply, = self.replies(HttpResponseRedirect(target))
            self.assertEqual((reply['status'], dict(reply['headers'])[b'Location']), (302, target.encode('ascii')))


class RequestTests(ChannelTestCase):

    def request(self, content, chunks=(), cls=AsgiRequest):
        content = dict({'reply_channel': 'test-reply', 'http_version': '1.1'}, **content)
        Channel('test').send(content)
        for chunk in chunks:
            Channel('test-input').send(chunk)
        return cls(self.get_next_message('test', require=True))

    def test_minimal(self):
        request = self.request({'method': 'GET', 'path': b'/test/'})
        self.assertEqual((request.path, request.method, request.body), (b'/test/', 'GET', b''))
        self.assertFalse(request.GET or request.POST or request.COOKIES)
        self.assertNotIn('HTTP_HOST', request.META)
        self.assertNotIn('REMOTE_ADDR', request.META)
        self.assertIn('SERVER_NAME', request.META)

    def test_full_get(self):
        request = self.request({
            'method': 'GET',
            'path': b'/test2/',
            'query_string': b'x=1&y=foo%20bar+baz&and=a%26b&plus=%2B',
            'headers': {'host': b'example.com', 'cookie': b'test-time=1448995585123; test-value=yeah'},
            'client': ['10.0.0.1', 1234],
            'server': ('10.0.0.2', 80),
        })
        self.assertEqual(request.META['HTTP_HOST'], 'example.com')
        self.assertEqual((request.META['REMOTE_ADDR'], request.META['REMOTE_PORT']), ('10.0.0.1', 1234))
        self.assertEqual((request.META['SERVER_NAME'], request.META['SERVER_PORT']), ('10.0.0.2', '80'))
        self.assertEqual((request.GET['y'], request.GET['and'], request.GET['plus']), ('foo bar baz', 'a&b', '+'))
        self.assertEqual(request.COOKIES, {'test-time': '1448995585123', 'test-value': 'yeah'})

    def form(self, body, **content):
        return dict({
            'method': 'POST',
            'path': b'/test2/',
            'query_string': 'django=great',
            'body': body,
            'headers': {
                'content-type': b'application/x-www-form-urlencoded',
                'content-length': str(len(b'ponies=are+awesome')).encode('ascii'),
            },
        }, **content)

    def test_post_in_one_message(self):
        request = self.request(self.form(b'ponies=are+awesome'))
        self.assertEqual(request.META['CONTENT_TYPE'], 'application/x-www-form-urlencoded')
        self.assertEqual((request.GET['django'], request.POST['ponies']), ('great', 'are awesome'))
        self.assertNotIn('django', request.POST)

    def test_post_in_parts(self):
        parts = [{'content': b's=are+', 'more_content': True}, {'content': b'awesome'}]
        request = self.request(self.form(b'ponie', body_channel='test-input'), parts)
        self.assertEqual((request.body, request.POST['ponies']), (b'ponies=are+awesome', 'are awesome'))

    def test_files_in_parts(self):
        body = (
            b'--BOUNDARY\r\nContent-Disposition: form-data; name="title"\r\n\r\nMy First Book\r\n'
            b'--BOUNDARY\r\nContent-Disposition: form-data; name="pdf"; filename="book.pdf"\r\n\r\n'
            b'FAKEPDFBYTESGOHERE\r\n--BOUNDARY--'
        )
        headers = {
            'content-type': b'multipart/form-data; boundary=BOUNDARY',
            'content-length': str(len(body)).encode('ascii'),
        }
        content = {'method': 'POST', 'path': b'/', 'body_channel': 'test-input', 'headers': headers}
        parts = [{'content': body[:20], 'more_content': True}, {'content': body[20:]}]
        request = self.request(content, parts)
        self.assertEqual(request.POST['title'], 'My First Book')
        self.assertEqual(request.FILES['pdf'].read(), b'FAKEPDFBYTESGOHERE')
        self.assertFalse(request._post_parse_error)
        self.assertEqual(len(request.body), len(body))

    def test_stream(self):
        request = self.request({'method': 'PUT', 'path': b'/', 'body': b'onetwothree'})
        self.assertEqual((request.method, request.read(3), request.read()), ('PUT', b'one', b'twothree'))

    def test_a_body_that_does_not_come_is_a_timeout(self):
        class Impatient(AsgiRequest):
            body_receive_timeout = 0

        content = {'method': 'POST', 'path': b'/', 'body': b'x', 'body_channel': 'test-input'}
        with self.assertRaises(RequestTimeout):
            self.request(content, cls=Impatient).body

    def test_a_client_that_leaves_aborts(self):
        content = {'method': 'POST', 'path': b'/', 'body': b'x', 'body_channel': 'test-input'}
        with self.assertRaises(RequestAborted):
            self.request(content, [{'content': b'y', 'more_content': True}, {'closed': True}]).body
