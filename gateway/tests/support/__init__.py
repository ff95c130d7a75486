"""What the tests stand on: private servers, gateways as processes, instances that record what they believe."""
