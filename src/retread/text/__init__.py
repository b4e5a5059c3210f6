"""How values become text for people: tables, pages, charts."""
