"""Storage: the only floor that speaks SQL. Everybody above sees `port.Store`."""
