"""The kernel's side: requests, answers, the session, and how the next request is waited for."""
