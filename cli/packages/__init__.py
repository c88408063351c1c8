"""Commands about one version: listed, searched, copied, written as a table, built step by step."""
