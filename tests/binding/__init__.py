"""The tests of bindings: changes that go out, changes that come in, and the models they are made to."""
