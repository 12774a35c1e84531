"""The tasks of the shop, in a common style. This module does not use task-status."""

import random
import time

from celery import shared_task, states
from celery.exceptions import Ignore


class PaymentProviderUnavailable(Exception):
    """The payment provider did not answer."""


@shared_task
def add_up(prices: list[float], discount: float = 0.0) -> float:
    """Add up the prices of an order; the type hints become the schema of the arguments."""
    return round(sum(prices) * (1 - discount), 2)


@shared_task(bind=True)
def make_report(self, month, rows=50):
    """Make the sales report of a month, and report progress as Celery's documentation shows."""
    for row in range(1, rows + 1):
        time.sleep(0.1)
        self.update_state(state="PROGRESS", meta={"current": row, "total": rows, "status": f"row {row} of {rows}"})
    return {"month": month, "url": f"/reports/{month}.pdf"}


@shared_task(bind=True, max_retries=5)
def charge(self, order_id, cents):
    """Charge a card; the provider does not answer at first, so the task retries."""
    if self.request.retries < 2:
        raise self.retry(exc=PaymentProviderUnavailable(f"no answer for order {order_id}"), countdown=0.5)
    return {"order_id": order_id, "cents": cents, "receipt": random.randrange(10**6)}


@shared_task(bind=True)
def import_prices(self, lines):
    """Import a price list; an invalid line stores a custom FAILURE, which Celery cannot read back."""
    prices = {}
    for number, line in enumerate(lines, start=1):
        product, _, price = line.partition("=")
        try:
            prices[product] = float(price)
        except ValueError:
            self.update_state(state=states.FAILURE, meta={"custom": f"line {number}: {price!r} is not a price"})
            raise Ignore from None
    return prices
