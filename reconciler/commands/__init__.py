"""Pure: argv out, facts in. One module per tool; nothing here runs anything."""
