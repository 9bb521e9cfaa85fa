"""What the oracles share."""

from datetime import datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def iso(microseconds):
    """A whole second as thermocline prints it."""
    return (EPOCH + timedelta(microseconds=microseconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def alert_events(rows, raise_when, clear_when, hold_us):
    """Raise, hold and clear over rows (key, time, values) in the order of time; events as (time, key, action)."""
    held_since, raised, events = {}, set(), []
    for key, at, values in rows:
        if key in raised:
            if clear_when(*values):
                raised.remove(key)
                events.append((at, key, "resolve"))
        elif not raise_when(*values):
            held_since.pop(key, None)
        elif at - held_since.setdefault(key, at) >= hold_us:
            del held_since[key]
            raised.add(key)
            events.append((at, key, "trigger"))
    return sorted(events)
