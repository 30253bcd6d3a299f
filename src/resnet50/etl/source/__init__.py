"""How a source is understood: tables, lists, class folders and file names become readings, and evidence decides."""
