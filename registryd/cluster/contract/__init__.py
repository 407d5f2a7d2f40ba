"""What members are to each other: who they are, what they ask and answer, without how it travels."""
