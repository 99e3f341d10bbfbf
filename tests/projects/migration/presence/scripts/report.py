#!/usr/bin/env python2
# Run by cron
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "presence.settings")

from channels import Group

print "reporting"
try:
    Group("people").send({"text": "report"})
except Exception, error:
    print "failed:", error
