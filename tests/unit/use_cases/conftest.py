"""Fixtures: the use cases over fakes."""

from support.use_cases import at_present, broker, catalog, store, submitter, tracker
