"""What those type, or start, who run Penstock on machines: the exporter, `top`, `restart`, mount(8)."""
