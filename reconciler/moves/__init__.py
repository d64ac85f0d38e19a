"""The journey of one domain: steps, recipes, the machine that decides, and the journal."""
