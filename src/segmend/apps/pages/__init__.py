"""What all HTML pages share: one style, drawings as SVG, pictures inside the page."""
