"""Measurements of the judge itself: what it finds, what it alarms about, how long it takes."""
