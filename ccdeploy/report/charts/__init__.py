"""Charts as SVG that follows the page: its colours, its font, and its width."""
