-- Do nothing, but wait like a command that writes while `CLIENT PAUSE` holds those up: see unblock in commands.py.
return 0
