"""Experimental methods: known from a third party's reading notes only, not checked against their papers."""
