"""Science: quantitative questions with units, multiple choice and short answers."""
