"""Ports: what the services need from the outside, as protocols without code. Imports core and proto only.

Every port has an in-memory twin in ``pto_memory`` and a real adapter; one conformance suite runs on both.
"""
