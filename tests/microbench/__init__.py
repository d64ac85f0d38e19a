"""How long the daemon's own work takes, without any host's: `make microbench`."""
