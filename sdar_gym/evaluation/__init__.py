"""Evaluation on fixed evaluation sets (panels): results with intervals and the settings that they depend on."""
