"""What a run did, as a table and as a page."""
