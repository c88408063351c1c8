"""From an overlay to a version: the steps of a commit, its recovery, and what the overlay notes afterwards."""
