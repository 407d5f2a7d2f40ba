"""The members' identities, questions and answers, as values without a protocol."""
