"""Tests of bindings: changes that are sent, changes that clients ask for, and models of many shapes."""
