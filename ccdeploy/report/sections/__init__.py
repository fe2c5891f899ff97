"""One module a section of the page: from what was gathered to what the template shows, figures in words."""
