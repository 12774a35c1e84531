"""The nearest names for an unknown task name."""

import pytest
from task_status_service.task_types.suggestions import unknown_task_type

ANNOUNCED = ["shop.orders.pay", "shop.orders.refund", "shop.mail.send", "demo.add", "x" * 200]


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("shop.orders.pya", "`shop.orders.pay`"),
        ("shop.order.refund", "`shop.orders.refund`"),
        ("send", "`shop.mail.send`"),
        ("orders.tasks.pay", "`shop.orders.pay`"),
        ("demo.ad", "`demo.add`"),
    ],
)
def test_similar_names_are_suggested(name: str, suggested: str) -> None:
    """A misspelled name, or one with another module, is answered with the announced one."""
    assert suggested in str(unknown_task_type(name, ANNOUNCED))


@pytest.mark.parametrize("name", ["zzz", "demo.sum", "x" * 256, "x" * 101])
def test_no_name_is_suggested_for_another_one(name: str) -> None:
    """The error has no suggestion if no name is similar."""
    assert "Did you mean" not in str(unknown_task_type(name, ANNOUNCED))


def test_few_names_are_suggested() -> None:
    """At most three names are suggested, however many are similar."""
    assert str(unknown_task_type("a.task", [f"a.task{number}" for number in range(2_000)])).count("`") == 6
