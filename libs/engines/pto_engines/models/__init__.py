"""Access to language models: settings, prices, sorting of failures, one limiter per model, one door to ask.

Imports ports, proto and the standard library; only ``client`` imports the anthropic package and only ``credentials``
boto3, both when they are first needed. Invariant: no secret leaves this package but as a credential to the API it is
for.
"""
