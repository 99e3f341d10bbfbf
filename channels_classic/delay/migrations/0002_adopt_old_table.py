"""Messages that Channels 1.x left in its table move to ours, and that table goes.

Channels 1.x called its app `channels.delay`; Django allows no dots there any more, so the table cannot be kept.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations

OLD_TABLE = "channels.delay_delayedmessage"


def adopt(apps: Any, schema_editor: Any) -> None:
    """Move what is in the old table, if there is one."""
    connection = schema_editor.connection
    if OLD_TABLE not in connection.introspection.table_names():
        return
    old = schema_editor.quote_name(OLD_TABLE)
    new = schema_editor.quote_name(apps.get_model("channels_delay", "DelayedMessage")._meta.db_table)
    columns = ", ".join(map(schema_editor.quote_name, ("due_date", "channel_name", "content")))
    schema_editor.execute(f"INSERT INTO {new} ({columns}) SELECT {columns} FROM {old}")  # noqa: S608  # names of ours
    schema_editor.execute(f"DROP TABLE {old}")


class Migration(migrations.Migration):
    dependencies: ClassVar[list[tuple[str, str]]] = [("channels_delay", "0001_initial")]

    operations: ClassVar[list[migrations.operations.base.Operation]] = [
        migrations.RunPython(adopt, migrations.RunPython.noop),
    ]
