class ClientError(Exception):
    """Caught by a decorator and sent to the client."""

    def __init__(self, code):
        super(ClientError, self).__init__(code)
        self.code = code
