"""Log templates: mined from the lines of each service, and what is unusual about them."""
