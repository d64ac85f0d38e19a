"""The edge: ssh, the guard that runs on the hosts, and the executor that drives moves."""
