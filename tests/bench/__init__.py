"""How fast the product is, measured through its public interface, beside other systems on the same workloads."""
