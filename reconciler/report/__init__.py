"""What is told to people and programs: the report file, its page on a terminal, and plans as text."""
