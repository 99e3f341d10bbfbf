"""The program that owns client connections: HTTP and WebSocket in, messages on channels out, replies back."""
