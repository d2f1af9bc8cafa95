"""What each figure shows, and what it finds; `report.drawings` has the table of them."""
