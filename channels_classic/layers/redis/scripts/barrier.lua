-- Do nothing. A server that knows this script knows all (SCRIPTS in commands.py). It also waits, like a command that
-- writes, while `CLIENT PAUSE` holds those up (`unblock`).
return 0
