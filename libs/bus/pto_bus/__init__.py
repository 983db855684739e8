"""NATS adapters of the ports, the broker process, the topology. Submodules are imported one by one to keep starts
fast.
"""
