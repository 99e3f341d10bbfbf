class CountingMiddleware(object):
    count = 0

    def process_request(self, request):
        CountingMiddleware.count += 1
