"""Reports as JSON, Markdown and self-contained HTML."""
