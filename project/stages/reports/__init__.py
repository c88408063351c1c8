"""What is told of stages: the graph, values and charts over versions."""
