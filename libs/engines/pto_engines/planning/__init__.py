"""From a model's answer to a plan that can run: reading, rules, and repair. Independent of how the model is asked."""
