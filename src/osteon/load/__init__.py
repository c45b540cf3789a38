"""The service under load: `osteon load-test` starts real servers on this machine and measures them."""
