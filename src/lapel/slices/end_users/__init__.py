"""End users: the people whose recordings a project keeps."""
