# Dictionaries were the first form of routing.
channel_routing = {
    'reminders.plan': 'reminders.consumers.plan',
    'reminders.send': 'reminders.consumers.send_reminder',
    'mail.send': 'reminders.consumers.send_mail',
}
