"""The project's fault campaign: malformed inputs, kills, limits and attacks, counted by kind
(``make test-faults``)."""
