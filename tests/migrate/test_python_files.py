"""Python files that other files of their project use."""

from __future__ import annotations

from pathlib import Path

import pytest

from channels_classic.migrate.plan import plan

from .test_plan import project


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        ("patch('chat.notify.channels.Group')\n", True),
        ("patch('chat.notify.channels')\n", True),
        ("patch('%s.channels.Group' % notify.__name__)\n", True),
        ("patch.object(notify.channels, 'Group')\n", True),
        ("patch.object(notify, 'channels')\n", True),
        ("patch.multiple(notify, channels=None)\n", True),
        ("from chat.notify import channels\n", True),
        ("from chat.notify import *\nchannels.Group\n", True),
        ("from chat.notify import *\n", False),
        ("getLogger('django.channels')\n", False),
        ("from channels import Group\nimport channels.routing\nself.channels = 1\n", False),
        ("INSTALLED_APPS.insert(0, 'channels')\n", False),
    ],
)
def test_a_module_keeps_the_name_channels_if_another_may_use_it(tmp_path: Path, code: str, kept: bool) -> None:
    notify = "import channels\n\ndef tell():\n    channels.Group('room').send({})\n"
    report = plan(project(tmp_path, {"chat/notify.py": notify, "tests.py": code}))
    after = next(change.after.decode() for change in report.changes if change.path == "chat/notify.py")
    assert after.startswith("import channels_classic as channels\n" if kept else "import channels_classic\n")
    assert plan(tmp_path / "chat" / "notify.py").changes[0].after.startswith(b"import channels_classic as channels\n")
