"""What users sent, made into what pages show: decoded, cut short, cleaned, named. It looks no version up."""
