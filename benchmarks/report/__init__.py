"""Results as a page: read with nothing trusted; tables, plots as SVG, HTML and Markdown."""
