"""Reviews: what reviewers said of a revision, and how many approvals a team asks for."""
