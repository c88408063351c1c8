"""What of versions is the same, or looks the same: by hashes that they have, and by hashes of what pictures show."""
