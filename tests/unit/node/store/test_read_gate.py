"""What each form of the gate promises."""

import pytest

from quorumcache.node.store.read_gate import new_read_gate
from tests.support.get_forms import FORMS, Form

FORM = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)


@FORM
def test_a_new_gate_is_shut(form: Form) -> None:
    gate = form.gate()
    assert gate.table is None
    assert gate.lease_until_ns == 0


@FORM
def test_a_gate_keeps_its_table_until_it_gets_another_one(form: Form) -> None:
    gate = form.gate()
    first, second = form.table(), form.table()
    gate.table = first
    assert gate.table is first
    gate.table = second
    assert gate.table is second
    gate.table = None
    assert gate.table is None


@FORM
def test_a_gate_keeps_its_lease(form: Form) -> None:
    gate = form.gate()
    gate.lease_until_ns = (1 << 63) - 1
    assert gate.lease_until_ns == (1 << 63) - 1
    gate.lease_until_ns = 0
    assert gate.lease_until_ns == 0


def test_the_process_has_a_form_of_its_own() -> None:
    assert type(new_read_gate()) in [type(form.gate()) for form in FORMS]
