"""The tasks of the shop, in a common style. This module does not use task-status."""

import random
import time

from celery import shared_task, states
from celery.exceptions import Ignore


class PaymentProviderAway(Exception):
    """The payment provider did not answer."""


@shared_task
def add_up(prices: list[float], discount: float = 0.0) -> float:
    """Add up an order, with type hints as in any other function."""
    return round(sum(prices) * (1 - discount), 2)


@shared_task(bind=True)
def make_report(self, month, rows=50):
    """Make the sales report of a month; progress as Celery's own documentation shows it."""
    for row in range(1, rows + 1):
        time.sleep(0.1)
        self.update_state(state="PROGRESS", meta={"current": row, "total": rows, "status": f"row {row} of {rows}"})
    return {"month": month, "url": f"/reports/{month}.pdf"}


@shared_task(bind=True, max_retries=5)
def charge(self, order_id, cents):
    """Charge a card. The provider is away at first, so this is tried again."""
    if self.request.retries < 2:
        raise self.retry(exc=PaymentProviderAway(f"no answer for order {order_id}"), countdown=0.5)
    return {"order_id": order_id, "cents": cents, "receipt": random.randrange(10**6)}


@shared_task(bind=True)
def import_prices(self, lines):
    """Import a price list; a wrong line stores a custom FAILURE, which Celery itself cannot read back."""
    prices = {}
    for number, line in enumerate(lines, start=1):
        product, _, price = line.partition("=")
        try:
            prices[product] = float(price)
        except ValueError:
            self.update_state(state=states.FAILURE, meta={"custom": f"line {number}: {price!r} is no price"})
            raise Ignore from None
    return prices
