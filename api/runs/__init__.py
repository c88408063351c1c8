"""What this process has opened, as a stamp for what it makes; runs recorded by it, and mounted again."""
