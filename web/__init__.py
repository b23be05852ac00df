"""What people see in a browser: the live page, the click page."""
