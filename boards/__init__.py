"""One file per board: clock, link, top level."""
