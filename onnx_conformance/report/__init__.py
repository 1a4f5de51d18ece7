"""One results document, as a terminal's matrix, Markdown and an HTML page."""
