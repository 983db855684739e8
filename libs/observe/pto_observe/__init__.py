"""What a service shows to whoever operates it: metrics, health over HTTP, and traces by OTLP."""
