"""infra/topology.yaml on one machine: real PostgreSQL, emulated storage and Pub/Sub, simulated upstreams."""
