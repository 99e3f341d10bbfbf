"""The program that runs consumers: it takes one message, finds its consumer by the routing, and runs it."""
