"""Small inline charts: SVG whose colours come from the page's variables, so that they follow light, dark and print."""
