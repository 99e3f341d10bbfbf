-- Where must a message for a group go? Follows audience.lua.
return audience()
