"""Math: problems whose answer is checked by equivalence."""
