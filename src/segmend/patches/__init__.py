"""Training tensors from volumes: samplers yield boxes, data sets answer them."""
