"""The survey: read-only commands on all hosts at once, turned into facts."""
