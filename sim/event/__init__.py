"""The event-driven simulator: who waits for whom."""
