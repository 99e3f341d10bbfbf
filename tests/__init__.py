"""The tests, which mirror the source: a module is tested by the module of the same name."""
