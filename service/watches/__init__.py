"""Watches: what is noticed goes out as feeds and by webhooks."""
