"""What is measured of a run while it trains, and what is decided by it."""
