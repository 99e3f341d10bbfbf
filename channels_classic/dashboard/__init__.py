"""A page for staff that shows what runs on the channel layer. Reads only.

Add `channels_classic.dashboard` to `INSTALLED_APPS`, include `channels_classic.dashboard.urls` in the URLs of the
project, and, for a page that is live, `channels_classic.dashboard.routing` in its routing, below the same path.
"""
