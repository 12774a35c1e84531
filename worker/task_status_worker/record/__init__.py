"""The record: facts about one task, how they are packed, their Redis keys, and the connection to them."""
