"""Use cases over fakes."""

from support.use_cases import at_present, broker, store, submitter, tracker
