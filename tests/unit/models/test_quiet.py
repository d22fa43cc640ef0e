"""The libraries' advice is off for as long as it was asked to be, and no longer."""

from __future__ import annotations

import logging

from spr.models.quiet import quiet


def test_a_library_that_speaks_when_it_is_imported_is_not_heard(caplog):
    with quiet():
        with quiet():
            pass
        late = logging.getLogger("DeepSpeed")  # as its import does it
        late.setLevel(logging.WARNING)
        late.warning("advice")
        late.error("fault")
    late.warning("after")
    assert [record.message for record in caplog.records] == ["fault", "after"]


def test_levels_are_what_they_were():
    logger = logging.getLogger("transformers")
    before = logger.level
    with quiet():
        assert logger.level == logging.ERROR
    assert logger.level == before
