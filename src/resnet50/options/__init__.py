"""Every option of every command, once, with its type, default, range and help text."""
