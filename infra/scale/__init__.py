"""What a run of any size would take and cost: a model of the deployment.

It is fed by infra/topology.yaml, measured costs of a row, and list prices. Nothing of production imports it.
"""
